"""The Kubeflow pipeline: package → analyze → gate → register → roll out → promote.

``definition`` is the pipeline, ``components`` its steps as KFP sees them, each a shell over a plain
function of ``steps``; ``local_run``, ``compilation`` and ``submission`` are what is done with it.
"""
