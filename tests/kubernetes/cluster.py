"""A cluster: its objects, its API by HTTP, and the ways of a test into both.

with running("kserve-0.20.0", "gateway-api") as cluster:
    config.load_kube_config(str(cluster.kubeconfig(tmp_path)))
"""

from __future__ import annotations

import contextlib
import datetime
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.kubernetes import access, patches, resources
from tests.kubernetes.access import User
from tests.kubernetes.api import Api
from tests.kubernetes.certificates import certificate
from tests.kubernetes.objects import Objects
from tests.kubernetes.ownership import Manager
from tests.kubernetes.refusals import Object, RefusedError
from tests.kubernetes.resources import Resource
from tests.kubernetes.selection import Selection, listed
from tests.kubernetes.server import Served
from tests.kubernetes.store import Key, Store
from tests.kubernetes.trouble import Harm, Trouble, Troubles
from tests.kubernetes.writing import Options

CRDS = Key("apiextensions.k8s.io", "customresourcedefinitions", "", "")


class Cluster:
    """One cluster in this process.

    Attributes:
        url: of the API, ``http://127.0.0.1:PORT``.
        store: the objects, and ``store.changed`` to wait on.
        objects: the API's verbs without HTTP and without asking who; for controllers and webhooks.
        asked: every request so far: verb, path, user.
    """

    def __init__(self, *crds: str, tls: Path | None = None) -> None:
        self.store = Store()
        self.objects = Objects(self.store, now)
        self.troubles = Troubles()
        self._kinds = list(resources.built_in())
        self._api = Api(self.objects, self.kinds)
        self.asked = self._api.asked
        for namespace in ("default", "kube-system"):
            self.namespace(namespace)
        for crd in resources.crds(*crds):
            self.define(crd)
        context, authority = certificate(tls) if tls else (None, None)
        self._authority: Path | None = authority
        self.served = Served(self._api, self.troubles, context)
        self.url = self.served.url

    def close(self) -> None:
        """No more of it."""
        self.served.close(before_joining=self.troubles.clear)

    # Objects, as the cluster's own parts write them.

    def kind(self, kind: str, group: str | None = None) -> Resource:
        """The resource of a kind; say the group where two have it (Service, Event)."""
        for each in self.kinds():
            if each.kind == kind and group in (None, each.group):
                return each
        raise LookupError(f"the cluster serves no {kind}")

    def namespace(self, name: str) -> None:
        """Make it, unless it is there."""
        if not self.store.get(Key("", "namespaces", "", name)):
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def define(self, crd: Object) -> None:
        """Have a CRD's kinds, established at once."""
        spec = crd["spec"]
        versions = [each["name"] for each in spec["versions"] if each.get("storage")]
        conditions = [
            {"type": each, "status": "True", "reason": each, "lastTransitionTime": now()}
            for each in ("NamesAccepted", "Established")
        ]
        self._kinds += resources.custom(crd)
        status = {
            "acceptedNames": spec["names"],
            "conditions": conditions,
            "storedVersions": versions,
        }
        name = crd["metadata"]["name"]
        # As it is: to check megabytes of schema again in each test would take seconds.
        thing = {**crd, "metadata": {**crd["metadata"], "creationTimestamp": now(), "uid": name}}
        self.store.keep(Key(CRDS.group, CRDS.plural, "", name), {**thing, "status": status})

    def create(self, thing: Object) -> Object:
        """A new object; its namespace is ``default`` if it names none."""
        resource, namespace = self._where(thing)
        return self.objects.create(resource, namespace, thing, _options(resource))

    def get(
        self, kind: str, name: str, namespace: str = "default", group: str | None = None
    ) -> Any:
        """The object, or None."""
        resource = self.kind(kind, group)
        where = namespace if resource.namespaced else ""
        return self.store.get(Key(resource.group, resource.plural, where, name))

    def list(
        self, kind: str, namespace: str = "", labels: str = "", group: str | None = None
    ) -> list[Any]:
        """The objects of a kind, in all namespaces or one."""
        selection = Selection(self.kind(kind, group), namespace, labels)
        found: list[Any] = listed(self.store, selection, 0, "")["items"]
        return found

    def set_status(self, thing: Object, status: Object) -> Object:
        """Write its status, whatever else has changed meanwhile."""
        resource, namespace = self._where(thing)
        name = thing["metadata"]["name"]
        with self.store.changed:
            live = self.objects.get(resource, namespace, name)
            if live.get("status") == status:
                return live
            body = {**live, "status": status}
            return self.objects.update(
                resource, namespace, name, body, _options(resource, "status"), "status"
            )

    def put(self, thing: Object, manager: str = "controller") -> Object:
        """Create it, or have it as this is."""
        resource, namespace = self._where(thing)
        name = thing["metadata"]["name"]
        with self.store.changed:
            live = self.store.get(self.objects.key(resource, namespace, name))
            if live is None:
                return self.objects.create(
                    resource, namespace, thing, _options(resource, "", manager)
                )
            metadata = {**thing["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}
            body = {**thing, "metadata": metadata}
            return self.objects.update(
                resource, namespace, name, body, _options(resource, "", manager)
            )

    def patch(self, kind: str, name: str, patch: Object, namespace: str = "default") -> Object:
        """The object with a merge patch."""
        resource = self.kind(kind)
        where = namespace if resource.namespaced else ""
        return self.objects.patch(resource, where, name, patches.MERGE, patch, _options(resource))

    def delete(
        self, kind: str, name: str, namespace: str = "default", group: str | None = None
    ) -> None:
        """Remove it, if it is there."""
        resource = self.kind(kind, group)
        with contextlib.suppress(RefusedError):
            where = namespace if resource.namespaced else ""
            self.objects.delete(resource, where, name, None, _options(resource))

    def _where(self, thing: Object) -> tuple[Resource, str]:
        group = thing["apiVersion"].rpartition("/")[0]
        resource = self.kind(thing["kind"], group)
        namespace = thing["metadata"].get("namespace", "default")
        return resource, namespace if resource.namespaced else ""

    def kinds(self) -> tuple[Resource, ...]:
        """All that the cluster serves."""
        return tuple(self._kinds)

    # Who asks.

    def kubeconfig(
        self, folder: Path, user: User = access.ADMIN, namespace: str = "default"
    ) -> Path:
        """A kubeconfig file by which ``user`` reaches the API."""
        name = user.name.replace(":", "-")
        file = folder / f"kubeconfig-{name}.yaml"
        server = {"server": self.url}
        if self._authority:
            server["certificate-authority"] = str(self._authority)
        context = {"cluster": "fake", "user": name, "namespace": namespace}
        file.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "fake", "cluster": server}],
                    "users": [{"name": name, "user": {"token": self.token(user)}}],
                    "contexts": [{"name": "fake", "context": context}],
                    "current-context": "fake",
                }
            )
        )
        return file

    def service_account_folder(self, folder: Path, user: User) -> Path:
        """What a pod of the service account ``user`` is given to reach the API by, with TLS alone.

        It is mounted at /var/run/secrets/kubernetes.io/serviceaccount; the address comes by the
        environment, as KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT.
        """
        if self._authority is None:
            raise LookupError("a pod reaches the API by HTTPS: running(..., tls=FOLDER)")
        mount = folder / "serviceaccount"
        mount.mkdir(exist_ok=True)
        (mount / "token").write_text(self.token(user))
        (mount / "namespace").write_text(user.name.split(":")[2])
        (mount / "ca.crt").write_bytes(self._authority.read_bytes())
        return mount

    def token(self, user: User = access.ADMIN) -> str:
        """A bearer token of the user's."""
        token = secrets.token_urlsafe(16)
        self._api.users[token] = user
        return token

    def bind(self, user: User, role: Object) -> None:
        """Create a Role or ClusterRole, and bind the service account ``user`` is to it."""
        made = self.put(role)
        *_, namespace, name = user.name.split(":")
        binding: Object = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": f"{role['kind']}Binding",
            "metadata": {"name": f"{name}-{made['metadata']['name']}"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": role["kind"],
                "name": made["metadata"]["name"],
            },
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
        if role["kind"] == "Role":
            binding["metadata"] |= {"namespace": made["metadata"]["namespace"]}
        self.put(binding)

    # What goes wrong.

    def trouble(
        self,
        harm: Harm,
        verb: str = "*",
        path: str = "",
        times: int = 1,
        refusal: RefusedError | None = None,
    ) -> Trouble:
        """Have the next requests that match meet it."""
        return self.troubles.add(Trouble(harm, verb, path, times, refusal))


def now() -> str:
    """As the API writes a time: whole seconds of UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _options(resource: Resource, subresource: str = "", manager: str = "controller") -> Options:
    # Strict: what the fake's own parts write is to be of the schema, or it is noticed.
    owner = Manager(manager, "Update", resource.api_version, subresource)
    return Options(owner, strictness="Strict")


@contextlib.contextmanager
def running(*crds: str, tls: Path | None = None) -> Iterator[Cluster]:
    """A cluster with the kinds of these folders of CRDs, while the block runs.

    Args:
        crds: ``kserve-0.20.0``, ``kserve-0.15.2``, ``gateway-api``, ``knative-serving`` …
        tls: a folder for a certificate, to be reached by HTTPS as a real one is.
    """
    cluster = Cluster(*crds, tls=tls)
    try:
        yield cluster
    finally:
        cluster.close()
