//! Children of this process that another program has started in it before this one. Nobody here waits for them, so that
//! they would stay zombies when they end.
//!
//! Only those are collected that were there when the program began, each by a descriptor of its own: what drivers start is
//! theirs. A driver that finds such a child again (a guest, say) hears of its end all the same, as it hears of the end of
//! one that is nobody's child here.

use std::os::fd::AsFd;

use tokio::io::Interest;
use virt_util::sys::process::{Exit, PidFd, Stat};

use crate::server::socket::watch;

/// The children that are not ours.
#[derive(Debug, Default)]
pub(super) struct Inherited(Vec<PidFd>);

impl Inherited {
    /// All children of this process. To be called before it has any of its own.
    pub(super) fn of_this_process() -> Self {
        let own = std::process::id().cast_signed();
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Self::default();
        };
        let children = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| Stat::of(*pid).and_then(|stat| stat.parent()) == Some(own))
            // Nobody else collects a child, so that its number is still its own. A kernel without such descriptors leaves
            // things as they are.
            .filter_map(|pid| PidFd::open(pid).ok().flatten());
        Self(children.collect())
    }

    /// Collects each when it has ended. To be called on the runtime.
    pub(super) fn collect_all(self) {
        for child in self.0 {
            tokio::spawn(collect(child));
        }
    }
}

async fn collect(child: PidFd) {
    let pid = child.pid();
    let ended = async {
        let fd = child.as_fd().try_clone_to_owned()?;
        watch(fd, Interest::READABLE)?.readable().await.map(drop)
    };
    if let Err(error) = ended.await {
        tracing::warn!("the end of process {pid} will go unnoticed: {error}");
        return;
    }
    match child.collect() {
        // Somebody was faster.
        Ok(None | Some(Exit::Unknown)) => {}
        Ok(Some(exit)) => {
            tracing::debug!(
                "process {pid}, which an earlier program in this process has started, has ended: {exit}"
            )
        }
        Err(error) => tracing::warn!("{error}"),
    }
}

#[cfg(test)]
#[allow(
    clippy::zombie_processes,
    reason = "children are collected through their descriptors here"
)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn a_child_from_before_is_collected_when_it_ends() {
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id().cast_signed();
        let found = Inherited::of_this_process();
        // Other tests have children too, which are theirs.
        let found: Vec<_> = found.0.into_iter().filter(|found| found.pid() == pid).collect();
        assert_eq!(found.len(), 1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            Inherited(found).collect_all();
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(Stat::of(pid).is_some(), "it has not ended");
            drop(child.stdin.take());
            let end = Instant::now() + Duration::from_secs(20);
            while Stat::of(pid).is_some() {
                assert!(Instant::now() < end, "process {pid} is still there");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
}
