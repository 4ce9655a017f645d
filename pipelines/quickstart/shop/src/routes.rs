//! Which request gets which answer. No sockets here: a request goes in, a response comes out.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::catalogue::{self, quoted};
use crate::faults::Faults;
use crate::http::{Request, Response};
use crate::metrics::Metrics;
use crate::settings::Settings;

/// What the answers depend on.
#[derive(Debug)]
pub struct Shop {
    version: String,
    fail_health: bool,
    fail_ready: bool,
    faults: Faults,
    /// What has been measured so far.
    pub metrics: Metrics,
    /// Set when it has been asked to end: from then on it is not ready.
    pub leaving: AtomicBool,
    /// Set when it takes no more connections.
    pub stopping: AtomicBool,
}

impl Shop {
    /// A shop that is open.
    pub fn new(settings: &Settings) -> Shop {
        Shop {
            version: settings.version.clone(),
            fail_health: settings.fail_health,
            fail_ready: settings.fail_ready,
            faults: Faults::new(settings),
            metrics: Metrics::new(&settings.version),
            leaving: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// The route that a path belongs to, which is what metrics call it.
    pub fn route(path: &str) -> &'static str {
        match path {
            "/health" => "/health",
            "/health/ready" => "/health/ready",
            "/metrics" => "/metrics",
            "/products" => "/products",
            _ if path.strip_prefix("/products/").is_some_and(|id| !id.contains('/')) => "/products/{id}",
            _ => "other",
        }
    }

    /// The answer to a request.
    pub fn answer(&self, request: &Request) -> Response {
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Response::error(405, "only GET and HEAD are answered").with("allow", "GET, HEAD");
        }
        let response = match Shop::route(&request.path) {
            "/health" => self.health(),
            "/health/ready" => self.ready(),
            "/metrics" => Response {
                status: 200,
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                headers: Vec::new(),
                body: self.metrics.text(),
            },
            "/products" => self.product(|| Response::json(200, catalogue::json())),
            "/products/{id}" => self.product(|| {
                let id = request.path.trim_start_matches("/products/");
                match catalogue::find(id) {
                    Some(product) => Response::json(200, product.json()),
                    None => Response::error(404, "no such product"),
                }
            }),
            _ => Response::error(404, "no such page"),
        };
        response.with("x-version", &self.version)
    }

    /// Is the process well? A failing answer asks for a restart.
    fn health(&self) -> Response {
        if self.fail_health {
            return Response::json(500, format!(r#"{{"status":"failing","version":{}}}"#, quoted(&self.version)));
        }
        Response::json(200, format!(r#"{{"status":"ok","version":{}}}"#, quoted(&self.version)))
    }

    /// Should it get requests? A failing answer asks for patience.
    fn ready(&self) -> Response {
        if self.fail_ready || self.leaving.load(Ordering::Relaxed) {
            return Response::json(503, r#"{"ready":false}"#);
        }
        Response::json(200, r#"{"ready":true}"#)
    }

    fn product(&self, answer: impl FnOnce() -> Response) -> Response {
        self.faults.delay();
        if self.faults.strikes() { Response::error(500, "fault on demand") } else { answer() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(shop: &Shop, path: &str) -> (u16, String) {
        let request = Request { method: "GET".into(), path: path.into(), keep_alive: true, body: 0 };
        let response = shop.answer(&request);
        (response.status, response.body)
    }

    fn shop(change: impl FnOnce(&mut Settings)) -> Shop {
        let mut settings = Settings { version: "1.2.3".into(), ..Settings::default() };
        change(&mut settings);
        Shop::new(&settings)
    }

    #[test]
    fn paths_have_answers() {
        let shop = shop(|_| {});
        assert_eq!(get(&shop, "/health"), (200, r#"{"status":"ok","version":"1.2.3"}"#.into()));
        assert_eq!(get(&shop, "/health/ready"), (200, r#"{"ready":true}"#.into()));
        assert_eq!(get(&shop, "/products"), (200, catalogue::json()));
        assert_eq!(get(&shop, "/products/2"), (200, catalogue::PRODUCTS[1].json()));
        assert_eq!(get(&shop, "/products/9"), (404, r#"{"error":"no such product"}"#.into()));
        assert_eq!(get(&shop, "/products/"), (404, r#"{"error":"no such product"}"#.into()));
        assert_eq!(get(&shop, "/products/2/reviews").0, 404);
        assert_eq!(get(&shop, "/").0, 404);
        assert_eq!(get(&shop, "/metrics").0, 200);
    }

    #[test]
    fn other_methods_are_not_answered() {
        let request = Request { method: "DELETE".into(), path: "/products/1".into(), keep_alive: true, body: 0 };
        let response = shop(|_| {}).answer(&request);
        assert_eq!(response.status, 405);
        assert_eq!(response.headers, [("allow", "GET, HEAD".to_owned())]);
    }

    #[test]
    fn health_fails_on_demand_and_alone() {
        let shop = shop(|settings| settings.fail_health = true);
        assert_eq!(get(&shop, "/health").0, 500);
        assert_eq!(get(&shop, "/products").0, 200);
    }

    #[test]
    fn faults_strike_products_and_nothing_else() {
        let shop = shop(|settings| settings.error_rate = 0.5);
        let statuses: Vec<u16> = (0..4).map(|_| get(&shop, "/products/1").0).collect();
        assert_eq!(statuses, [200, 500, 200, 500]);
        assert!((0..4).all(|_| get(&shop, "/health").0 == 200));
    }

    #[test]
    fn a_shop_that_is_told_to_fail_or_to_end_is_not_ready() {
        let leaving = shop(|_| {});
        assert_eq!(get(&leaving, "/health/ready").0, 200);
        leaving.leaving.store(true, Ordering::Relaxed);
        for shop in [leaving, shop(|settings| settings.fail_ready = true)] {
            assert_eq!(get(&shop, "/health/ready").0, 503);
            assert_eq!(get(&shop, "/health").0, 200);
        }
    }
}
