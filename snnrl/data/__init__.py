"""Data sets of labelled examples. One file each; libraries are imported where a set is loaded."""

from snnrl.data.load import load_data as load_data
from snnrl.data.sets import DataSet as DataSet
from snnrl.data.sets import Split as Split
from snnrl.data.stream import DataStream as DataStream
