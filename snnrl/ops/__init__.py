"""Spiking operators: functions of tensors, time first, independent of modules."""
