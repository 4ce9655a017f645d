//! `runner:docker/images`.

use capability::StageState;

use super::bindings::runner::docker::images as wit;
use super::bindings::runner::docker::types as wit_types;
use super::{Call, Error, Reply, crossed, lower_denial, lower_fault};
use crate::effect::{self, Image, Inspect, List, OnImages, Pull, Push, Remove, Save, Tag};

impl wit::Host for StageState {
    async fn inspect(&mut self, reference: String) -> Reply<wit_types::Image> {
        let call = Call::of(self);
        Ok(crossed!(call, OnImages(Inspect { reference })).map(lower))
    }

    async fn list(&mut self) -> Reply<Vec<wit_types::Image>> {
        let call = Call::of(self);
        Ok(crossed!(call, OnImages(List)).map(|images| images.into_iter().map(lower).collect()))
    }

    async fn pull(&mut self, reference: String) -> Reply<wit_types::Image> {
        let call = Call::of(self);
        Ok(crossed!(call, OnImages(Pull { reference })).map(lower))
    }

    async fn push(&mut self, reference: String) -> Reply<wit::Pushed> {
        let call = Call::of(self);
        Ok(crossed!(call, OnImages(Push { reference })).map(|effect::Pushed { digest, size }| wit::Pushed { digest, size }))
    }

    async fn tag(&mut self, source: String, target: String) -> Reply<()> {
        let call = Call::of(self);
        Ok(crossed!(call, OnImages(Tag { source, target })))
    }

    async fn save(&mut self, references: Vec<String>, path: String) -> Reply<u64> {
        let call = Call::of(self);
        Ok(crossed!(call, OnImages(Save { references, path })))
    }

    async fn remove(&mut self, reference: String) -> Reply<()> {
        let call = Call::of(self);
        Ok(crossed!(call, OnImages(Remove { reference })))
    }
}

fn lower(image: Image) -> wit_types::Image {
    let Image { id, tags, digests, size, architecture, labels, exposed, layers } = image;
    wit_types::Image { id, tags, digests, size, architecture, labels, exposed, layers }
}
