//! Which kinds the server knows: Istio's from their CRDs, Kubernetes' own and those of Gateway API from a table.

use std::sync::Arc;

use serde_json::Value;

/// A kind, with what discovery tells of it.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) group: String,
    /// The first is preferred. All hold the same objects: no field differs between them.
    pub(super) versions: Vec<String>,
    pub(super) plural: String,
    pub(super) singular: String,
    pub(super) kind: String,
    pub(super) short: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) is_namespaced: bool,
    pub(super) has_status: bool,
    /// Whether `metadata.generation` counts what is asked of it.
    pub(super) has_generation: bool,
    /// Defined by a CRD: such lists, patches and errors look a little different from those of built-in kinds.
    pub(super) is_custom: bool,
    /// The CRD's `openAPIV3Schema`, without descriptions. None: any shape passes.
    pub(super) schema: Option<Arc<Value>>,
}

/// A kind's index in [`all`].
pub(super) type KindId = usize;

/// Every kind, in the order in which discovery lists groups.
pub(super) fn all() -> Vec<Kind> {
    let native = NATIVE.iter().map(|row| row.kind(false));
    let custom = CRDS.iter().map(|text| from_crd(text));
    native.chain(custom).chain(GATEWAY_API.iter().map(|row| row.kind(true))).collect()
}

// === impl Kind ===

impl Kind {
    /// As messages name it: `virtualservices.networking.istio.io`, `pods`.
    pub(super) fn resource(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    /// As messages name an object's type: `VirtualService.networking.istio.io`, `Pod`.
    pub(super) fn qualified_kind(&self) -> String {
        qualified(&self.kind, &self.group)
    }

    /// `networking.istio.io/v1`, `v1`.
    pub(super) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// Whether `name` means this kind: a plural, with or without its group, or the kind itself.
    pub(super) fn is_named(&self, name: &str) -> bool {
        name == self.plural || name == self.kind || name == self.resource() || name == self.qualified_kind()
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// A kind without a schema: group, version, plural, kind, short name, and what is true of it.
struct Row(&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

impl Row {
    fn kind(&self, is_custom: bool) -> Kind {
        let Row(group, version, plural, kind, short, traits) = *self;
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Kind {
            group: group.to_owned(),
            versions: vec![version.to_owned()],
            plural: plural.to_owned(),
            singular: kind.to_ascii_lowercase(),
            kind: kind.to_owned(),
            short: words(short),
            categories: words(if is_custom { "gateway-api" } else { "" }),
            is_namespaced: !traits.contains("cluster"),
            has_status: traits.contains("status"),
            has_generation: is_custom || traits.contains("generation"),
            is_custom,
            schema: None,
        }
    }
}

fn from_crd(text: &str) -> Kind {
    let crd: Value = serde_json::from_str(text).expect("testdata/kubernetes/crds holds JSON");
    let text = |field: &str| crd[field].as_str().unwrap_or_default().to_owned();
    let texts = |field: &str| -> Vec<String> {
        let items = crd[field].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Kind {
        group: text("group"),
        versions: texts("versions"),
        plural: text("plural"),
        singular: text("singular"),
        kind: text("kind"),
        short: texts("shortNames"),
        categories: texts("categories"),
        is_namespaced: true,
        has_status: true,
        has_generation: true,
        is_custom: true,
        schema: Some(Arc::new(crd["schema"].clone())),
    }
}

macro_rules! crds {
    ($($name:literal),*) => {
        [$(include_str!(concat!("../../../testdata/kubernetes/crds/", $name, ".json"))),*]
    };
}

const CRDS: [&str; 9] = crds![
    "gateways",
    "virtualservices",
    "destinationrules",
    "serviceentries",
    "workloadentries",
    "workloadgroups",
    "sidecars",
    "envoyfilters",
    "proxyconfigs"
];

#[rustfmt::skip]
const NATIVE: [Row; 22] = [
    Row("", "v1", "namespaces", "Namespace", "ns", "cluster status"),
    Row("", "v1", "services", "Service", "svc", "status"),
    Row("", "v1", "pods", "Pod", "po", "status generation"),
    Row("", "v1", "secrets", "Secret", "", ""),
    Row("", "v1", "configmaps", "ConfigMap", "cm", ""),
    Row("", "v1", "serviceaccounts", "ServiceAccount", "sa", ""),
    Row("", "v1", "nodes", "Node", "no", "cluster status"),
    Row("", "v1", "events", "Event", "ev", ""),
    Row("apps", "v1", "deployments", "Deployment", "deploy", "status generation"),
    Row("apps", "v1", "daemonsets", "DaemonSet", "ds", "status generation"),
    Row("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", "status"),
    Row("coordination.k8s.io", "v1", "leases", "Lease", "", ""),
    Row("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "", "generation"),
    Row("events.k8s.io", "v1", "events", "Event", "ev", ""),
    Row("networking.k8s.io", "v1", "ingresses", "Ingress", "ing", "status generation"),
    Row("networking.k8s.io", "v1", "ingressclasses", "IngressClass", "", "cluster generation"),
    Row("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", "netpol", "generation"),
    Row("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", "status generation"),
    Row("rbac.authorization.k8s.io", "v1", "roles", "Role", "", ""),
    Row("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", "", ""),
    Row("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", "", "cluster"),
    Row("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", "", "cluster"),
];

#[rustfmt::skip]
const GATEWAY_API: [Row; 10] = [
    Row("gateway.networking.k8s.io", "v1", "gatewayclasses", "GatewayClass", "gc", "cluster status"),
    Row("gateway.networking.k8s.io", "v1", "gateways", "Gateway", "gtw", "status"),
    Row("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", "", "status"),
    Row("gateway.networking.k8s.io", "v1", "grpcroutes", "GRPCRoute", "", "status"),
    Row("gateway.networking.k8s.io", "v1", "tlsroutes", "TLSRoute", "", "status"),
    Row("gateway.networking.k8s.io", "v1", "tcproutes", "TCPRoute", "", "status"),
    Row("gateway.networking.k8s.io", "v1", "udproutes", "UDPRoute", "", "status"),
    Row("gateway.networking.k8s.io", "v1", "backendtlspolicies", "BackendTLSPolicy", "btlspolicy", "status"),
    Row("gateway.networking.k8s.io", "v1", "listenersets", "ListenerSet", "lset", "status"),
    Row("gateway.networking.k8s.io", "v1", "referencegrants", "ReferenceGrant", "refgrant", ""),
];
