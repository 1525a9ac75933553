//! The Services as objects, as `kubectl get services,endpointslices -A -o yaml` prints them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::services::{Catalogue, Endpoint, Port, Service, Target};
use crate::lab::LabError;

/// Where both nodes are.
const ZONE: &str = "zone-a";

/// One `List` of everything, as YAML.
///
/// # Errors
/// It cannot be written as YAML.
pub fn yaml(catalogue: &Catalogue) -> Result<String, LabError> {
    let services = catalogue.0.iter().map(service);
    let slices = catalogue.0.iter().flat_map(slices);
    let list = json!({
        "apiVersion": "v1",
        "items": services.chain(slices).collect::<Vec<Value>>(),
        "kind": "List",
        "metadata": { "resourceVersion": "" },
    });
    serde_saphyr::to_string(&list).map_err(|error| LabError::check(format!("write objects as YAML: {error}")))
}

fn service(service: &Service) -> Value {
    let addresses = service.addresses();
    let cluster_ips: Vec<String> = match addresses.is_empty() {
        true => vec!["None".to_owned()],
        false => addresses.iter().map(ToString::to_string).collect(),
    };
    let mut spec = json!({
        "clusterIP": cluster_ips.first(),
        "clusterIPs": cluster_ips,
        "internalTrafficPolicy": if service.local { "Local" } else { "Cluster" },
        "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "RequireDualStack",
        "ports": service.ports.iter().map(service_port).collect::<Vec<Value>>(),
        "selector": { "app": service.name },
        "sessionAffinity": if service.affinity.is_some() { "ClientIP" } else { "None" },
        "type": "ClusterIP",
    });
    if let (Some(seconds), Some(spec)) = (service.affinity, spec.as_object_mut()) {
        spec.insert("sessionAffinityConfig".to_owned(), json!({ "clientIP": { "timeoutSeconds": seconds } }));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(service, service.name),
        "spec": spec,
        "status": { "loadBalancer": {} },
    })
}

fn metadata(service: &Service, name: &str) -> Value {
    json!({
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": { "app": service.name },
        "name": name,
        "namespace": service.namespace,
        "resourceVersion": "1",
    })
}

fn service_port(port: &Port) -> Value {
    let target = match &port.target {
        Target::Number(number) => json!(number),
        Target::Named(name, _) => json!(name),
    };
    let mut value = json!({ "port": port.port, "protocol": protocol(port), "targetPort": target });
    if let (false, Some(value)) = (port.name.is_empty(), value.as_object_mut()) {
        value.insert("name".to_owned(), json!(port.name));
    }
    value
}

fn protocol(port: &Port) -> String {
    port.protocol.as_str().to_ascii_uppercase()
}

/// A slice for each family and each set of port numbers, as the slices' controller makes them.
fn slices(service: &Service) -> Vec<Value> {
    let mut groups: BTreeMap<Vec<Option<u16>>, Vec<Endpoint>> = BTreeMap::new();
    for endpoint in &service.endpoints {
        let ports = service.ports.iter().map(|port| port.at(endpoint.host)).collect();
        groups.entry(ports).or_default().push(*endpoint);
    }
    if groups.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    let mut slices = Vec::new();
    for (number, (ports, endpoints)) in groups.into_iter().enumerate() {
        for family in ["IPv4", "IPv6"] {
            let name = format!("{}-{}{number}", service.name, family.to_ascii_lowercase());
            slices.push(slice(service, &name, family, &ports, &endpoints));
        }
    }
    slices
}

fn slice(
    service: &Service,
    name: &str,
    family: &str,
    ports: &[Option<u16>],
    endpoints: &[Endpoint],
) -> Value {
    let mut metadata = metadata(service, name);
    if let Some(metadata) = metadata.as_object_mut() {
        let labels = json!({
            "app": service.name,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "kubernetes.io/service-name": service.name,
        });
        metadata.insert("labels".to_owned(), labels);
        metadata.insert("generateName".to_owned(), json!(format!("{}-", service.name)));
        let owner = json!({
            "apiVersion": "v1", "blockOwnerDeletion": true, "controller": true, "kind": "Service",
            "name": service.name,
        });
        metadata.insert("ownerReferences".to_owned(), json!([owner]));
    }
    let ports: Vec<Value> = service
        .ports
        .iter()
        .zip(ports)
        .map(|(port, number)| json!({ "name": port.name, "port": number, "protocol": protocol(port) }))
        .collect();
    let endpoints: Vec<Value> = endpoints.iter().map(|found| endpoint(service, family, *found)).collect();
    json!({
        "addressType": family,
        "apiVersion": "discovery.k8s.io/v1",
        "endpoints": nothing_if_empty(endpoints),
        "kind": "EndpointSlice",
        "metadata": metadata,
        "ports": nothing_if_empty(ports),
    })
}

fn nothing_if_empty(values: Vec<Value>) -> Value {
    if values.is_empty() { Value::Null } else { Value::Array(values) }
}

fn endpoint(service: &Service, family: &str, endpoint: Endpoint) -> Value {
    let [v4, v6] = endpoint.host.addresses();
    let conditions = json!({
        "ready": endpoint.ready,
        "serving": endpoint.ready || endpoint.terminating,
        "terminating": endpoint.terminating,
    });
    json!({
        "addresses": [if family == "IPv4" { v4 } else { v6 }],
        "conditions": conditions,
        "nodeName": endpoint.host.node(),
        "targetRef": {
            "kind": "Pod",
            "name": format!("{}-{}", service.name, endpoint.host.name()),
            "namespace": service.namespace,
        },
        "zone": ZONE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_port_with_two_numbers_is_told_in_slices_of_their_own() {
        let catalogue = Catalogue::default();
        let found = slices(catalogue.get("named").unwrap());
        let ports: Vec<u64> = found.iter().map(|slice| slice["ports"][0]["port"].as_u64().unwrap()).collect();
        assert_eq!(ports, [8080, 8080, 8081, 8081]);
        assert_eq!(found[3]["endpoints"][0]["addresses"][0], "fd00:c:2::22");
    }

    #[test]
    fn a_list_reads_as_yaml_with_every_service_and_its_slices() {
        let text = yaml(&Catalogue::default()).unwrap();
        let list: Value = serde_saphyr::from_str(&text).unwrap();
        let kinds: Vec<&str> =
            list["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "Service").count(), 10);
        assert_eq!(kinds.iter().filter(|kind| **kind == "EndpointSlice").count(), 22);
        assert_eq!(list["kind"], "List");
    }
}
