//! `runner:docker/builds`: what a Dockerfile begins with is brought first, then it is built.

use capability::StageState;

use super::bindings::runner::docker::builds as wit;
use super::{Call, Error, Reply, crossed, lift_timeout, lower_denial, lower_fault};
use crate::effect::{Build, Built, Missing, OnImages, PullBase};

impl wit::Host for StageState {
    async fn build(&mut self, spec: wit::Spec) -> Reply<wit::Built> {
        let call = Call::of(self);
        let build = lift(spec);
        let missing = match crossed!(call, Missing(build.clone())) {
            Ok(missing) => missing,
            Err(error) => return Ok(Err(error)),
        };
        for reference in missing {
            if let Err(error) = crossed!(call, OnImages(PullBase { reference })) {
                return Ok(Err(error));
            }
        }
        Ok(crossed!(call, build).map(lower))
    }
}

fn lift(spec: wit::Spec) -> Build {
    Build {
        context: spec.context,
        dockerfile: spec.dockerfile,
        tags: spec.tags,
        build_args: spec.build_args,
        target: spec.target,
        labels: spec.labels,
        platform: spec.platform,
        network: spec.network,
        cache_from: spec.cache_from,
        cache_to: spec.cache_to,
        no_cache: spec.no_cache,
        pull: spec.pull,
        timeout: lift_timeout(spec.timeout),
    }
}

fn lower(built: Built) -> wit::Built {
    let Built { id, size, duration, cached, steps, buildkit } = built;
    wit::Built { id, size, duration: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), cached, steps, buildkit }
}
