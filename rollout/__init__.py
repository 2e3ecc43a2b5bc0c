"""The rollout: a candidate gets the requests step by step as it proves itself, or none."""
