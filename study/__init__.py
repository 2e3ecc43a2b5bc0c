"""How far it scales: real pods on this machine, and simulated ones beyond it."""
