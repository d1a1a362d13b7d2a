"""Policies of the agents: what is spiking in them, and what stays Stable-Baselines3's."""
