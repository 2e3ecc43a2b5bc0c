"""``torch.export`` programs as data: checked, loaded, run. Only what needs PyTorch imports them."""
