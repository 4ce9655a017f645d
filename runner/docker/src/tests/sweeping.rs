use std::process::Command;

use bollard::query_parameters::RenameContainerOptionsBuilder;

use super::{labels, scene, sh};
use crate::{ContainerSpec, Owner, sweep};

#[tokio::test(flavor = "multi_thread")]
async fn what_dead_processes_left_is_swept_and_nothing_else() {
    let Some(scene) = scene("sweep").await else { return };
    // the name of a process as another runner would have written it, which is no more
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().to_owned();
    let here = Owner::this_process();
    let parts: Vec<&str> = here.split('/').collect();
    let process = format!("{}/{}/{}/{}/{start}", parts[0], parts[1], parts[2], child.id());
    let dead = Owner { process, ..scene.owner.clone() };
    let other_run = Owner { run: format!("{}-other", dead.run), ..dead.clone() };

    let mine = scene.run(sh("sleep 60")).await;
    let spec = ContainerSpec { effect: Some(1), ..sh("sleep 60") };
    let theirs = scene.engine.run(&dead, &spec).await.unwrap();
    let (mine_id, their_id) = (mine.id().to_owned(), theirs.id().to_owned());
    mine.leave();
    theirs.leave();
    scene.engine.volume(&dead, &format!("{}-v", dead.run)).await.unwrap();
    let request = bollard::models::NetworkCreateRequest {
        name: format!("{}-n", dead.run),
        internal: Some(true),
        labels: Some(dead.labels()),
        ..bollard::models::NetworkCreateRequest::default()
    };
    let network = scene.engine.docker.create_network(request).await.unwrap().id;
    // half of our labels is not ours
    let stranger = bollard::models::VolumeCreateRequest {
        name: Some(format!("{}-stranger", dead.run)),
        labels: Some(labels(&[("dev.runner.process", &dead.process)])),
        ..bollard::models::VolumeCreateRequest::default()
    };
    scene.engine.docker.create_volume(stranger).await.unwrap();
    let other = scene.engine.run(&other_run, &sh("true")).await.unwrap();
    let other_id = other.id().to_owned();
    other.leave();

    // others' leavings may be swept along: what counts is what of this test's was
    let swept = sweep(&scene.engine, None).await.unwrap();
    assert!(!swept.containers.contains(&their_id), "the process is alive: {swept:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let swept = sweep(&scene.engine, Some(&dead.run)).await.unwrap();
    assert!(!swept.containers.contains(&their_id) && swept.containers.contains(&other_id), "the run is about to go on: {swept:?}");
    assert!(scene.engine.find(&scene.owner, 1).await.unwrap().is_some_and(|found| {
        let same = found.id() == their_id;
        found.leave();
        same
    }));

    // this process has taken it over
    let swept = sweep(&scene.engine, None).await.unwrap();
    assert!(!swept.containers.contains(&their_id) && !swept.containers.contains(&mine_id), "{swept:?}");
    assert!(swept.networks.contains(&network) && swept.volumes.contains(&format!("{}-v", dead.run)), "{swept:?}");
    assert!(swept.stuck.is_empty(), "{swept:?}");
    let other_name = RenameContainerOptionsBuilder::new().name(&format!("{}-c", dead.run)).build();
    scene.engine.docker.rename_container(&their_id, other_name).await.unwrap();
    let swept = sweep(&scene.engine, None).await.unwrap();
    assert!(swept.containers.contains(&their_id) && !swept.containers.contains(&mine_id), "{swept:?}");
    assert_eq!(scene.left().await.len(), 1, "{:?}", scene.left().await);
    scene.engine.docker.inspect_volume(&format!("{}-stranger", dead.run)).await.unwrap();
    scene
        .engine
        .docker
        .remove_volume(&format!("{}-stranger", dead.run), None::<bollard::query_parameters::RemoveVolumeOptions>)
        .await
        .unwrap();

    let swept = scene.engine.clear(&scene.owner).await.unwrap();
    assert_eq!(swept.containers, [mine_id]);
    assert!(scene.engine.clear(&scene.owner).await.unwrap().is_empty());
    scene.end().await;
}
