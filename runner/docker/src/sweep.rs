//! Takes away what runs left behind: of an attempt that ends, and of processes that died.

use std::collections::HashMap;

use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveVolumeOptionsBuilder,
};

use crate::container;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::owner::{EFFECT, Owner, PROCESS};

/// What was taken away, by id or name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    pub containers: Vec<String>,
    pub networks: Vec<String>,
    pub volumes: Vec<String>,
    pub images: Vec<String>,
    /// What the engine would not take away, with its words.
    pub stuck: Vec<String>,
}

impl Swept {
    pub fn is_empty(&self) -> bool {
        *self == Swept::default()
    }
}

type Filter = HashMap<String, Vec<String>>;

/// Removes the containers, networks, volumes and images without a name whose owner's process is gone, and nothing else. `spare` is a run that is
/// about to be resumed: it looks itself for the containers that its effects made, and its services and commands begin anew.
///
/// # Errors
/// If the engine does not answer.
pub async fn sweep(engine: &Engine, spare: Option<&str>) -> Result<Swept, EngineError> {
    let ours = HashMap::from([("label".to_owned(), vec![PROCESS.to_owned()])]);
    take(engine, &ours, &|owner, looked_for| owner.is_gone() && !(looked_for && spare == Some(owner.run.as_str()))).await
}

impl Engine {
    /// Removes all that an attempt made, whichever process it was in.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn clear(&self, owner: &Owner) -> Result<Swept, EngineError> {
        take(self, &owner.filter(), &|_, _| true).await
    }

    /// Makes a volume for an attempt. Named volumes outlive their containers: [`Engine::clear`] removes it.
    ///
    /// # Errors
    /// If the engine refuses.
    pub async fn volume(&self, owner: &Owner, name: &str) -> Result<(), EngineError> {
        let request = bollard::models::VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(owner.labels()),
            ..bollard::models::VolumeCreateRequest::default()
        };
        let made = self.docker.create_volume(request).await;
        made.map(drop).map_err(|error| self.failed(format!("making volume {name}"), error))
    }
}

async fn take(engine: &Engine, filter: &Filter, wanted: &(dyn Fn(&Owner, bool) -> bool + Sync)) -> Result<Swept, EngineError> {
    let docker = &engine.docker;
    let mut swept = Swept::default();
    // that nobody looks for it can be told of a container alone
    let forsaken = |labels: &HashMap<String, String>, names: &[String]| {
        Owner::of_container(labels, names).is_some_and(|owner| wanted(&owner, labels.contains_key(EFFECT)))
    };
    let wanted = |labels: Option<&HashMap<String, String>>| labels.and_then(Owner::of).is_some_and(|owner| wanted(&owner, true));

    let options = ListContainersOptionsBuilder::new().all(true).filters(filter).build();
    let found = docker.list_containers(Some(options)).await.map_err(|error| engine.failed("listing containers", error))?;
    for found in found {
        let (labels, names) = (found.labels.unwrap_or_default(), found.names.unwrap_or_default());
        let Some(id) = found.id.filter(|_| forsaken(&labels, &names)) else { continue };
        // somebody may have taken it over meanwhile
        let now = docker.inspect_container(&id, None::<InspectContainerOptions>).await;
        if now.is_ok_and(|now| !forsaken(&labels, &[now.name.unwrap_or_default()])) {
            continue;
        }
        match container::remove(engine, &id).await {
            Ok(()) => swept.containers.push(id),
            Err(error) => swept.stuck.push(error.to_string()),
        }
    }

    let options = ListNetworksOptionsBuilder::new().filters(filter).build();
    let found = docker.list_networks(Some(options)).await.map_err(|error| engine.failed("listing networks", error))?;
    for id in found.into_iter().filter(|found| wanted(found.labels.as_ref())).filter_map(|found| found.id) {
        match docker.remove_network(&id).await {
            Ok(()) => swept.networks.push(id),
            Err(error) => swept.note(engine.failed(format!("removing network {id}"), error)),
        }
    }

    let options = ListVolumesOptionsBuilder::new().filters(filter).build();
    let found = docker.list_volumes(Some(options)).await.map_err(|error| engine.failed("listing volumes", error))?;
    for name in found.volumes.unwrap_or_default().into_iter().filter(|found| wanted(Some(&found.labels))).map(|found| found.name) {
        match docker.remove_volume(&name, Some(RemoveVolumeOptionsBuilder::new().force(false).build())).await {
            Ok(()) => swept.volumes.push(name),
            Err(error) => swept.note(engine.failed(format!("removing volume {name}"), error)),
        }
    }

    // what a build that was cut off left; an image with a name is what it was meant to leave
    let mut nameless = filter.clone();
    nameless.insert("dangling".to_owned(), vec!["true".to_owned()]);
    let options = ListImagesOptionsBuilder::new().filters(&nameless).build();
    let found = docker.list_images(Some(options)).await.map_err(|error| engine.failed("listing images", error))?;
    for image in
        found.into_iter().filter(|found| wanted(Some(&found.labels)) && found.repo_digests.iter().all(|name| name.starts_with("<none>")))
    {
        match engine.remove_image(&image.id).await {
            Ok(()) => swept.images.push(image.id),
            Err(error) => swept.note(error),
        }
    }
    Ok(swept)
}

impl Swept {
    /// Another runner may sweep at the same time.
    fn note(&mut self, error: EngineError) {
        if !error.is_missing() {
            self.stuck.push(error.to_string());
        }
    }
}
