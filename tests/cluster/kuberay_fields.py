"""The fields of ray.io/v1 that cluster/kuberay*.yaml may use, as JSON Schema.

Written down from the field reference of KubeRay 1.6 (docs.ray.io, "KubeRay CRD API reference"); the CRD itself, which
contains all of Kubernetes' pods, is not here. Pods are checked by Kubernetes' own schema instead.
"""

from __future__ import annotations


def _fields(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}  # a quoted "0" and not 0: they are arguments of `ray start`
_COUNT = {"type": "integer", "minimum": 0}
_POD = {"type": "object", "required": ["spec"]}

_AUTOSCALER = _fields(
    resources={"type": "object"},
    env={"type": "array"},
    idleTimeoutSeconds=_COUNT,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
)
_HEAD = _fields(
    required=["rayStartParams", "template"],
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    rayStartParams=_TEXTS,
    template=_POD,
)
_WORKERS = _fields(
    required=["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    rayStartParams=_TEXTS,
    template=_POD,
)
RAY_CLUSTER = _fields(
    required=["headGroupSpec"],
    rayVersion=_TEXT,
    authOptions=_fields(mode={"enum": ["token", "disabled"]}, secretName=_TEXT),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=_AUTOSCALER,
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)
RAY_JOB = _fields(
    required=["entrypoint"],
    entrypoint=_TEXT,
    clusterSelector=_TEXTS,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterPodTemplate=_POD,
)
