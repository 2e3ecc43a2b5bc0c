"""The load client: sends pods load over the protocols they speak and measures what comes back."""
