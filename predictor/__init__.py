"""The serving pod: frontends that decode, instances that infer, a supervisor that watches."""
