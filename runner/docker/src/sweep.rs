//! Takes away what runs left behind: of an attempt that ends, and of processes that died.

use std::collections::HashMap;

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveVolumeOptionsBuilder,
};

use crate::container;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::owner::{EFFECT, Owner, PROCESS};
use crate::turn::turn;

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
    let _turn = turn().await;
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

/// `wanted`: by whose it is, and whether somebody may still look for it, which can be told of a container alone.
async fn take(engine: &Engine, filter: &Filter, wanted: &(dyn Fn(&Owner, bool) -> bool + Sync)) -> Result<Swept, EngineError> {
    let docker = &engine.docker;
    let of_owner = |labels: Option<&HashMap<String, String>>| labels.and_then(Owner::of).is_some_and(|owner| wanted(&owner, true));
    // what a build that was cut off left; an image with a name is what it was meant to leave
    let mut nameless = filter.clone();
    nameless.insert("dangling".to_owned(), vec!["true".to_owned()]);
    let (containers, networks, volumes, images) = tokio::join!(
        docker.list_containers(Some(ListContainersOptionsBuilder::new().all(true).filters(filter).build())),
        docker.list_networks(Some(ListNetworksOptionsBuilder::new().filters(filter).build())),
        docker.list_volumes(Some(ListVolumesOptionsBuilder::new().filters(filter).build())),
        docker.list_images(Some(ListImagesOptionsBuilder::new().filters(&nameless).build())),
    );
    let containers = containers.map_err(|error| engine.failed("listing containers", error))?;
    let networks = networks.map_err(|error| engine.failed("listing networks", error))?;
    let volumes = volumes.map_err(|error| engine.failed("listing volumes", error))?.volumes.unwrap_or_default();
    let images = images.map_err(|error| engine.failed("listing images", error))?;

    let mut swept = Swept::default();
    // containers first: they hold the others
    for found in containers {
        let (labels, names) = (found.labels.unwrap_or_default(), found.names.unwrap_or_default());
        let owner = Owner::of_container(&labels, &names).filter(|owner| wanted(owner, labels.contains_key(EFFECT)));
        let Some(id) = found.id.filter(|_| owner.is_some()) else { continue };
        match container::remove(engine, &id).await {
            Ok(()) => swept.containers.push(id),
            Err(error) => swept.stuck.push(error.to_string()),
        }
    }
    for id in networks.into_iter().filter(|found| of_owner(found.labels.as_ref())).filter_map(|found| found.id) {
        match docker.remove_network(&id).await {
            Ok(()) => swept.networks.push(id),
            Err(error) => swept.note(engine.failed(format!("removing network {id}"), error)),
        }
    }
    for name in volumes.into_iter().filter(|found| of_owner(Some(&found.labels))).map(|found| found.name) {
        match docker.remove_volume(&name, Some(RemoveVolumeOptionsBuilder::new().force(false).build())).await {
            Ok(()) => swept.volumes.push(name),
            Err(error) => swept.note(engine.failed(format!("removing volume {name}"), error)),
        }
    }
    let unnamed = |names: &[String]| names.iter().all(|name| name.starts_with("<none>"));
    for image in images.into_iter().filter(|found| of_owner(Some(&found.labels)) && unnamed(&found.repo_digests)) {
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
