"""Spiking operators: functions of tensors, time first. They know nothing of modules."""
