//! Routes that part the traffic by weights: an Istio VirtualService, a Gateway API HTTPRoute. What their objects say, and patches of their weights.
//!
//! Only weights are ever changed, each guarded by a test of the destination that it belongs to: if somebody else puts the route in another order, the patch
//! is refused instead of meaning another one. Header matches are the route's own; where the settings ask for it, routes for a header lead wholly to the canary.

use runner_sdk::kubernetes::{Patch, ResourceType, Target};
use runner_workloads::workload::text;
use serde_json::{Value, json};

use crate::settings::{Settings, Traffic};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Stable,
    Canary,
    Baseline,
    Other,
}

/// A destination of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    who: Who,
    /// Of the destination, in the object.
    pointer: String,
    /// Of what names it, and the name.
    name: (String, String),
    /// None if it is not said.
    weight: Option<u64>,
}

/// An entry that leads to both versions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Only for those who ask for it with a header.
    by_header: bool,
    places: Vec<Place>,
}

/// The object that has the weights, and whom its destinations mean.
#[derive(Debug, Clone)]
pub struct Routes {
    pub target: Target,
    /// `VirtualService api`
    called: String,
    istio: bool,
    only: Option<String>,
    stable: String,
    canary: String,
    baseline: Option<String>,
    headers: bool,
}

impl Routes {
    /// None: by the numbers of Pods.
    pub fn of(settings: &Settings) -> Option<Routes> {
        Some(match settings.traffic.as_ref()? {
            Traffic::Istio(istio) => Routes {
                target: Target::new(
                    ResourceType::new("networking.istio.io", &istio.api_version, "virtualservices"),
                    &istio.virtual_service,
                ),
                called: format!("VirtualService {}", istio.virtual_service),
                istio: true,
                only: istio.route.clone(),
                stable: istio.stable.clone(),
                canary: istio.canary.clone(),
                baseline: istio.baseline.clone(),
                headers: istio.headers,
            },
            Traffic::Gateway(gateway) => Routes {
                target: Target::new(ResourceType::new("gateway.networking.k8s.io", &gateway.api_version, "httproutes"), &gateway.route),
                called: format!("HTTPRoute {}", gateway.route),
                istio: false,
                only: None,
                stable: gateway.stable.clone().unwrap_or_else(|| settings.deployment.clone()),
                canary: gateway.canary.clone().unwrap_or_else(|| settings.canary()),
                baseline: gateway.baseline.clone(),
                headers: gateway.headers,
            },
        })
    }

    fn who(&self, name: &str) -> Who {
        match name {
            name if name == self.stable => Who::Stable,
            name if name == self.canary => Who::Canary,
            name if Some(name) == self.baseline.as_deref() => Who::Baseline,
            _ => Who::Other,
        }
    }

    fn place(&self, pointer: String, destination: &Value) -> Place {
        let names: &[&str] = if self.istio { &["/destination/subset", "/destination/host"] } else { &["/name"] };
        let known = names.iter().map(|name| (*name, text(destination, name))).filter(|(_, name)| !name.is_empty());
        let (at, name) = known.clone().find(|(_, name)| self.who(name) != Who::Other).or_else(|| known.clone().next()).unwrap_or(("", ""));
        let weight = destination.get("weight").and_then(Value::as_u64);
        Place { who: self.who(name), name: (format!("{pointer}{at}"), name.to_owned()), weight, pointer }
    }

    /// The entries that lead to both versions.
    fn entries(&self, object: &Value) -> Result<Vec<Entry>, String> {
        let (list, inner) = if self.istio { ("http", "route") } else { ("rules", "backendRefs") };
        let mut entries = Vec::new();
        for (number, entry) in object.pointer(&format!("/spec/{list}")).and_then(Value::as_array).into_iter().flatten().enumerate() {
            if self.only.as_deref().is_some_and(|only| text(entry, "/name") != only) {
                continue;
            }
            let destinations = entry.get(inner).and_then(Value::as_array).into_iter().flatten().enumerate();
            let places: Vec<Place> = destinations.map(|(at, one)| self.place(format!("/spec/{list}/{number}/{inner}/{at}"), one)).collect();
            let leads = |who: Who| places.iter().filter(|place| place.who == who).count() == 1;
            if leads(Who::Stable) && leads(Who::Canary) && (self.baseline.is_none() || leads(Who::Baseline)) {
                if let Some(silent) = places.iter().find(|place| place.who != Who::Other && place.weight.is_none()) {
                    // it could be added, and not be taken away again under a grant that bounds it
                    return Err(format!(
                        "{}: `{}` has no weight in {}; write it down, with 0 for none",
                        self.called, silent.name.1, silent.pointer
                    ));
                }
                entries.push(Entry { by_header: self.headers && by_header(entry, self.istio), places });
            }
        }
        if entries.iter().all(|entry| entry.by_header) {
            let only = self.only.as_ref().map(|only| format!(" called `{only}`")).unwrap_or_default();
            let third = self.baseline.as_ref().map(|baseline| format!(" and `{baseline}`")).unwrap_or_default();
            let headers = if self.headers { " for everybody" } else { "" };
            return Err(format!(
                "{} has no route{only}{headers} that leads to `{}` and to `{}`{third}, each once; add the destinations, with weight 0 for the new one",
                self.called, self.stable, self.canary
            ));
        }
        Ok(entries)
    }

    /// The canary's part of the traffic for everybody, in percent.
    ///
    /// # Errors
    /// If nothing leads to both versions.
    pub fn weight(&self, object: &Value) -> Result<u32, String> {
        let entries = self.entries(object)?;
        let part = |entry: &Entry| {
            let sum: u64 = entry.places.iter().filter_map(|place| place.weight).sum();
            let canary = entry.places.iter().find(|place| place.who == Who::Canary);
            canary.and_then(|place| place.weight).unwrap_or_default() * 100 / sum.max(1)
        };
        let most = entries.iter().filter(|entry| !entry.by_header).map(part).max().unwrap_or_default();
        Ok(u32::try_from(most).unwrap_or(100))
    }

    /// Gives the canary its part, and the baseline as much. `before`: as it was before all of this, which is where a part of 0 leads for the header's routes.
    ///
    /// # Errors
    /// If nothing leads to both versions.
    pub fn part(&self, object: &Value, before: &Value, weight: u32) -> Result<Patch, String> {
        let earlier = self.entries(before)?;
        let mut operations = Vec::new();
        for (entry, was) in self.entries(object)?.iter().zip(&earlier) {
            // what others have stays theirs
            let others: u64 = entry.places.iter().filter(|place| place.who == Who::Other).filter_map(|place| place.weight).sum();
            let all = if others == 0 {
                100
            } else {
                entry.places.iter().filter(|place| place.who != Who::Other).filter_map(|place| place.weight).sum()
            };
            let part = if entry.by_header && weight > 0 { 100 } else { u64::from(weight.min(100)) };
            let canary = (all * part + 50) / 100;
            let baseline = if self.baseline.is_some() { canary.min(all - canary) } else { 0 };
            for (place, was) in entry.places.iter().zip(&was.places) {
                let wanted = match place.who {
                    _ if entry.by_header && weight == 0 => was.weight,
                    Who::Stable => Some(all - canary - baseline),
                    Who::Canary => Some(canary),
                    Who::Baseline => Some(baseline),
                    Who::Other => continue,
                };
                set(&mut operations, place, wanted);
            }
        }
        Ok(Patch::Json(Value::from(operations)))
    }

    /// The weights as they were before; nothing where they are so.
    ///
    /// # Errors
    /// If nothing leads to both versions.
    pub fn restore(&self, object: &Value, before: &Value) -> Result<Patch, String> {
        let mut operations = Vec::new();
        for was in self.entries(before)?.iter().flat_map(|entry| &entry.places).filter(|place| place.who != Who::Other) {
            let is = object.pointer(&format!("{}/weight", was.pointer)).and_then(Value::as_u64);
            set(&mut operations, &Place { weight: is, ..was.clone() }, was.weight);
        }
        Ok(Patch::Json(Value::from(operations)))
    }

    /// The way back while nothing has changed: the weights as they are, written down once more.
    ///
    /// # Errors
    /// If nothing leads to both versions.
    pub fn rehearsal(&self, before: &Value) -> Result<Patch, String> {
        let mut operations = Vec::new();
        for place in self.entries(before)?.iter().flat_map(|entry| &entry.places).filter(|place| place.who != Who::Other) {
            write(&mut operations, place, place.weight);
        }
        Ok(Patch::Json(Value::from(operations)))
    }
}

/// Whether only those get there who ask for it by a header.
fn by_header(entry: &Value, istio: bool) -> bool {
    let matches = entry.get(if istio { "match" } else { "matches" }).and_then(Value::as_array);
    let asks = |one: &Value| match &one["headers"] {
        Value::Object(headers) => !headers.is_empty(),
        Value::Array(headers) => !headers.is_empty(),
        _ => false,
    };
    matches.is_some_and(|matches| !matches.is_empty() && matches.iter().all(asks))
}

fn set(operations: &mut Vec<Value>, place: &Place, wanted: Option<u64>) {
    if place.weight != wanted {
        write(operations, place, wanted);
    }
}

fn write(operations: &mut Vec<Value>, place: &Place, wanted: Option<u64>) {
    operations.push(json!({ "op": "test", "path": place.name.0, "value": place.name.1 }));
    let kind = if place.weight.is_some() { "replace" } else { "add" };
    operations.push(json!({ "op": kind, "path": format!("{}/weight", place.pointer), "value": wanted.unwrap_or_default() }));
}

/// Whether a patch changes nothing.
pub fn is_empty(patch: &Patch) -> bool {
    matches!(patch, Patch::Json(Value::Array(operations)) if operations.is_empty())
}

#[cfg(test)]
pub mod tests {
    use runner_sdk::kubernetes::Target;
    use runner_workloads::Cluster;
    use runner_workloads::simulation::Simulation;

    use super::*;
    use crate::settings::tests::settings;

    pub fn virtual_service() -> Value {
        let to = |subset: &str| json!({ "host": "api", "subset": subset });
        json!({ "metadata": { "name": "api" }, "spec": { "http": [
            { "name": "asked", "match": [{ "headers": { "canary": { "exact": "true" } } }], "route": [{ "destination": to("canary"), "weight": 0 }, { "destination": to("stable"), "weight": 100 }] },
            { "match": [{ "uri": { "prefix": "/old" } }], "route": [{ "destination": to("stable") }] },
            { "name": "all", "route": [{ "destination": to("stable"), "weight": 100 }, { "destination": to("canary"), "weight": 0 }] },
        ] } })
    }

    pub fn http_route() -> Value {
        json!({ "metadata": { "name": "api" }, "spec": { "rules": [{ "backendRefs": [{ "name": "api", "port": 80, "weight": 1 }, { "name": "api-canary", "port": 80, "weight": 0 }] }] } })
    }

    fn weights(object: &Value) -> Vec<Option<u64>> {
        let entries = object["spec"]["http"].as_array().or(object["spec"]["rules"].as_array()).unwrap();
        let inner = |entry: &Value| entry["route"].as_array().or(entry["backendRefs"].as_array()).unwrap().clone();
        entries.iter().flat_map(inner).map(|one| one["weight"].as_u64()).collect()
    }

    /// Does it, and answers with the weights then.
    fn done(object: &mut Value, patch: impl FnOnce(&Value) -> Result<Patch, String>) -> Vec<Option<u64>> {
        let target = Target::service("x");
        let mut simulation = Simulation::new().having("services", "x", object.clone());
        *object = simulation.patch(&target, &patch(object).unwrap()).unwrap();
        weights(object)
    }

    #[test]
    fn weights_go_there_and_back_to_exactly_what_was() {
        for headers in [false, true] {
            let routes =
                Routes::of(&settings(json!({ "traffic": { "istio": { "virtual-service": "api", "headers": headers } } }))).unwrap();
            let before = virtual_service();
            let mut object = before.clone();
            let asked = if headers { [Some(100), Some(0)] } else { [Some(10), Some(90)] };
            let there = done(&mut object, |now| routes.part(now, &before, 10));
            assert_eq!(there, [asked[0], asked[1], None, Some(90), Some(10)]);
            assert_eq!(routes.weight(&object).unwrap(), 10);
            let none = done(&mut object, |now| routes.part(now, &before, 0));
            assert_eq!(none, [Some(0), Some(100), None, Some(100), Some(0)]);
            let there = done(&mut object, |now| routes.part(now, &before, 55));
            assert_eq!(there[3..], [Some(45), Some(55)]);
            let back = done(&mut object, |now| routes.restore(now, &before));
            assert_eq!((back, &object["spec"]), (weights(&before), &before["spec"]));
            assert!(is_empty(&routes.restore(&object, &before).unwrap()));
        }
    }

    #[test]
    fn a_gateway_goes_back_to_one_and_none() {
        let routes = Routes::of(&settings(json!({ "traffic": { "gateway": { "route": "api" } } }))).unwrap();
        let before = http_route();
        let mut object = before.clone();
        assert_eq!(routes.weight(&before).unwrap(), 0);
        assert_eq!(done(&mut object, |now| routes.part(now, &before, 25)), [Some(75), Some(25)]);
        assert_eq!(done(&mut object, |now| routes.restore(now, &before)), [Some(1), Some(0)]);
    }

    #[test]
    fn the_baseline_gets_as_much_as_the_canary_and_others_keep_theirs() {
        let traffic = json!({ "gateway": { "route": "api", "baseline": "api-baseline" } });
        let routes = Routes::of(&settings(json!({ "baseline": "api-baseline", "traffic": traffic }))).unwrap();
        let reference = |name: &str, weight: u64| json!({ "name": name, "weight": weight });
        let rule = json!([reference("api", 80), reference("api-canary", 0), reference("api-baseline", 0), reference("other", 20)]);
        let before = json!({ "metadata": { "name": "api" }, "spec": { "rules": [{ "backendRefs": rule }] } });
        let mut object = before.clone();
        let there = done(&mut object, |now| routes.part(now, &before, 10));
        assert_eq!(there, [Some(64), Some(8), Some(8), Some(20)]);
    }

    #[test]
    fn a_patch_means_no_other_destination() {
        let routes = Routes::of(&settings(json!({ "traffic": { "gateway": { "route": "api" } } }))).unwrap();
        let before = http_route();
        let patch = routes.part(&before, &before, 25).unwrap();
        let mut turned = before.clone();
        turned["spec"]["rules"][0]["backendRefs"].as_array_mut().unwrap().reverse();
        let mut simulation = Simulation::new().having("services", "x", turned);
        assert!(simulation.patch(&Target::service("x"), &patch).unwrap_err().to_string().contains("test of"));
    }

    #[test]
    fn the_way_back_is_rehearsed_without_a_change() {
        let routes = Routes::of(&settings(json!({ "traffic": { "istio": { "virtual-service": "api" } } }))).unwrap();
        let before = virtual_service();
        let mut object = before.clone();
        let patch = routes.rehearsal(&before).unwrap();
        assert!(!is_empty(&patch));
        done(&mut object, |_| Ok(patch));
        assert_eq!(object["spec"], before["spec"]);
    }

    #[test]
    fn a_destination_without_a_weight_is_told() {
        let routes = Routes::of(&settings(json!({ "traffic": { "gateway": { "route": "api" } } }))).unwrap();
        let mut route = http_route();
        route["spec"]["rules"][0]["backendRefs"][1].as_object_mut().unwrap().remove("weight");
        let told = routes.weight(&route).unwrap_err();
        assert_eq!(told, "HTTPRoute api: `api-canary` has no weight in /spec/rules/0/backendRefs/1; write it down, with 0 for none");
    }

    #[test]
    fn routes_that_do_not_lead_to_both_are_told() {
        for traffic in [
            json!({ "istio": { "virtual-service": "api", "canary": "new" } }),
            json!({ "istio": { "virtual-service": "api", "route": "none" } }),
            json!({ "istio": { "virtual-service": "api", "route": "asked", "headers": true } }),
        ] {
            let told = Routes::of(&settings(json!({ "traffic": traffic }))).unwrap().weight(&virtual_service()).unwrap_err();
            assert!(told.starts_with("VirtualService api has no route") && told.contains("add the destinations"), "{told}");
        }
    }
}
