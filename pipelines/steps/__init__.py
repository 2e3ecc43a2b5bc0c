"""What each step does, as functions of paths and values that know nothing of KFP.

pinning.pin                         what the run's names mean now
packaging.make_package              a network becomes a package
analysis.analyse                    candidate and champion on one dataset
gating.decide                       all datasets together, by gate.yaml
registration.register_challenger    the package becomes @challenger
rolling_out.carry_out               it gets the traffic, or comes back
promotion.promote_champion          it becomes @champion
conclusion.conclude                 whatever happened is recorded, and nothing is left behind
"""
