//! Ports of a stage's containers, for its confined programs.
//!
//! A jail has a loopback of its own, and so has a pod. For each port of a service in the pod something listens at the same port of the jail, and
//! passes bytes on: what a program reaches under the service's name is the service.

use std::sync::Arc;
use std::time::Duration;

use capability::{Endpoint, Setting};
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::policy::StartError;
use crate::stage_jail::StageJail;

/// Before a failed accept is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Ports that are passed on. Dropping it closes them, and what was open.
pub struct Bridge(Vec<JoinHandle<()>>);

/// Has these ports of the jail lead to the same of the endpoint.
///
/// # Errors
/// If something inside has one of them.
pub async fn bridge(jail: &StageJail, setting: &Setting, ports: &[u16], endpoint: Arc<dyn Endpoint>) -> Result<Bridge, StartError> {
    let jail = jail.standing(setting).await?;
    let mut bridge = Bridge(Vec::new());
    for &port in ports {
        let listener = jail.listen(port).await.map_err(|error| StartError::System(error.to_string()))?;
        bridge.0.push(tokio::spawn(pass_on(listener, port, endpoint.clone())));
    }
    Ok(bridge)
}

async fn pass_on(listener: TcpListener, port: u16, endpoint: Arc<dyn Endpoint>) {
    let mut open = JoinSet::new();
    loop {
        let Ok((mut inside, _)) = listener.accept().await else {
            // out of descriptors, most likely: some of those that are open will end
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while open.try_join_next().is_some() {}
        let _ = inside.set_nodelay(true);
        let endpoint = endpoint.clone();
        open.spawn(async move {
            // whom nobody answers is hung up on
            if let Ok(mut there) = endpoint.connect(port).await {
                let _ = copy_bidirectional(&mut inside, &mut there).await;
            }
        });
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
