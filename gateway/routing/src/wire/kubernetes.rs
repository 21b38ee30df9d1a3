//! Kubernetes' `Service`, `EndpointSlice` and `Pod`, as written: of each the fields that say which hosts there are and
//! who answers there. Their other fields are Kubernetes' own affair, and nothing is said of them.

use super::fields::{FromNode, wire};
use super::node::Node;
use super::sink::Sink;
use crate::origin::At;

/// The kinds, each with its `apiVersion`.
pub(crate) const KINDS: [(&str, &str); 3] =
    [("Service", "v1"), ("EndpointSlice", "discovery.k8s.io/v1"), ("Pod", "v1")];

wire! {
    /// A name for some Pods, or for others' endpoints, with its ports.
    Service open {
        metadata: may ServiceMetadata;
        spec: must ServiceSpec;
    }

    /// What of a Service's metadata is its own.
    ServiceMetadata open {
        annotations: map String;
    }

    /// What a Service is.
    ServiceSpec open {
        kind: may String = "type";
        ports: list ServicePort;
        selector: map String;
        external_name: may String = "externalName";
    }

    /// A port of a Service.
    ServicePort open {
        name: may String;
        protocol: may String;
        app_protocol: may String = "appProtocol";
        port: must u16;
        target_port: may TargetPort = "targetPort";
    }

    /// Some of a Service's endpoints, which have their ports in common.
    EndpointSlice open {
        address_type: may String = "addressType";
        endpoints: list SliceEndpoint;
        ports: list SlicePort;
    }

    /// One endpoint.
    SliceEndpoint open {
        addresses: list String;
        conditions: may Conditions;
        zone: may String;
        deprecated_topology: map String = "deprecatedTopology";
        target_ref: may TargetRef = "targetRef";
    }

    /// What is known of an endpoint's state.
    Conditions open {
        ready: may bool;
    }

    /// What is behind an endpoint.
    TargetRef open {
        kind: may String;
        name: may String;
        namespace: may String;
    }

    /// A port of every endpoint of a slice; the Service's one has the same name.
    SlicePort open {
        name: may String;
        protocol: may String;
        port: may u16;
    }

    /// Containers that run together, with an address of their own.
    Pod open {
        metadata: may PodMetadata;
        status: may PodStatus;
    }

    /// What of a Pod's metadata says who made it.
    PodMetadata open {
        owner_references: list OwnerReference = "ownerReferences";
        deletion_timestamp: may String = "deletionTimestamp";
    }

    /// Who made a Pod.
    OwnerReference open {
        kind: may String;
        name: may String;
        controller: may bool;
    }

    /// Where a Pod is, and how.
    PodStatus open {
        pod_ip: may String = "podIP";
        phase: may String;
        conditions: list PodCondition;
    }

    /// Something that is so of a Pod, or is not.
    PodCondition open {
        kind: may String = "type";
        status: may String;
    }
}

/// Where a Service's port goes: to a number, or to what its Pods call a port.
#[derive(Clone, Debug)]
pub(crate) enum TargetPort {
    Number(u16),
    Name(String),
}

impl FromNode for TargetPort {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        match &node.value {
            Node::Text(name) => Some(TargetPort::Name(name.clone())),
            Node::Int(_) | Node::Float(_) => u16::from_node(node, sink).map(TargetPort::Number),
            _ => {
                sink.wrong_type(node, "a port's number or name");
                None
            }
        }
    }
}

impl super::elsewhere::Elsewhere for TargetPort {
    fn mark(&mut self) {}
}
