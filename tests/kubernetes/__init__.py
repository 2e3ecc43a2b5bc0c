"""A Kubernetes cluster in this process, for tests of what talks to one.

    cluster              begin here: a cluster, its kubeconfigs, its objects, what is to go wrong
    kserve_controller    KServe at work in it: webhook, controller, pods, Knative
    traffic, backends    its gateway, real requests by what its routes say; and the least of pods

The API server: server (HTTP) → api (verbs, rights, discovery) → objects (what is done) → store;
with resources and structural (the real schemas), ownership (server-side apply), patches, selection
(lists and watches), writing and naming (what is let in), access (RBAC), refusals (the real one's
words) and trouble. KServe: kserve_webhook, kserve_standard, kserve_knative, kserve_pods and
kserve_status, after its source at v0.20.0 and v0.15.2; knative and workloads stand in for what it
relies on.

What it has not: rules in CEL, CRDs that come by the API, conversion between versions that differ,
horizontal autoscaling (Deployments have what it would have as the least), nodes.
"""
