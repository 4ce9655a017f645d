//! A canary beside Pods of the old version that were started at the same time, by the ranks of what was measured of both.

use std::time::Duration;

use end_to_end::{Cluster, Namespace, Project, Visitors, cluster, prometheus};

use super::{EXEC, LOGS, delivery, deployments, spec, state};

fn project(cluster: &Cluster, namespace: &Namespace<'_>, prometheus: &str, image: &str) -> Project {
    let of = format!("{{namespace=\"{}\",pod=~\"{{{{pods}}}}\",path=\"/products\"}}[10s]", namespace.name());
    let with = format!(
        r#"baseline = "api-baseline"
steps = [{{ set-weight = 25 }}, "analyse", "promote"]
prometheus = "{prometheus}"
deadline = "60s"
[[stage.canary.with.metrics]]
name = "mean"
query = 'sum(rate(http_request_duration_seconds_sum{of})) / sum(rate(http_request_duration_seconds_count{of}))'
observations = 'sum(increase(http_request_duration_seconds_count{of}))'
minimum = 10
interval = "1s"
count = 8
inconclusive = 60
compare = {{ with = "baseline", mann-whitney = {{ worse = "increase", ratio = 3.0 }} }}"#
    );
    let rules = format!("{}\n{LOGS}", deployments(&["api-stable", "api-canary", "api-baseline"], 4));
    delivery(cluster, namespace, image, &with, &format!("{prometheus}/api/v1/**"), &rules)
}

#[test]
fn a_canary_is_compared_with_a_baseline_that_began_with_it() {
    let test = "a_canary_is_compared_with_a_baseline_that_began_with_it";
    let (Some(cluster), Some(prometheus)) = (cluster(test), prometheus(test)) else { return };
    let each = |image: &str, code: i32| {
        let namespace = cluster.namespace("compared");
        namespace.serve("api", "canary", "1", 0);
        namespace.serve("api", "baseline", "2", 0);
        namespace.serve("api", "stable", "1", 4);
        let (before, baseline) = (state(&namespace), spec(&namespace, "api-baseline"));
        // as many as a Pod can bear that needs 1.5 s for each
        let visitors = Visitors::each(Duration::from_millis(50), &namespace, "api", "/products");
        let project = project(&cluster, &namespace, &prometheus, image);
        let running = project.start(&EXEC);
        running.wait_until("✓ set-weight 25%");
        let beside = spec(&namespace, "api-baseline");
        assert_eq!(
            (&beside["replicas"], &beside["template"]["spec"]["containers"][0]["image"]),
            (&1.into(), &"runner-test/service:1".into())
        );
        let finished = running.finish().expect(code);
        visitors.done();
        assert_eq!(spec(&namespace, "api-baseline"), baseline, "{image}: {}", finished.stdout);
        assert_eq!(state(&namespace) == before, code == 1, "{image}: {}", finished.stdout);
        finished.stdout
    };
    std::thread::scope(|scope| {
        scope.spawn(|| each("2", 0));
        let slow = each("slow", 1);
        for words in
            ["mean: ", "measurements are worse than those it is compared with: shifted by ", "effect size 1.00", "during `analyse`"]
        {
            assert!(slow.contains(words), "nothing says {words:?}: {slow}");
        }
    });
}
