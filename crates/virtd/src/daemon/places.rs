//! What of the daemon follows from its configuration and options: where things are, limits, the log, the host's UUID.

use std::path::{Path, PathBuf};
use std::time::Duration;

use virt_util::uuid::{self, Uuid};
use virt_util::{ErrorCode, Result, VirtError, durable};

use crate::auth::default_password_file;
use crate::config::value::HostUuidSource;
use crate::config::{DaemonConfig, Loaded, Role};
use crate::logging::LogConfig;
use crate::options::Options;
use crate::server::Settings;
use crate::service::names::DaemonName;
use crate::service::paths::Paths;
use crate::service::startup::Step;

/// Where the host's number for life is.
const MACHINE_ID: &str = "/etc/machine-id";

/// All paths below `root`.
pub(super) fn below(root: &Path, paths: Paths) -> Paths {
    let move_it = |path: PathBuf| under(Some(root), &path);
    Paths {
        runtime: move_it(paths.runtime),
        socket: move_it(paths.socket),
        socket_ro: paths.socket_ro.map(move_it),
        socket_admin: move_it(paths.socket_admin),
        pid_file: move_it(paths.pid_file),
        config_file: move_it(paths.config_file),
        log_file: move_it(paths.log_file),
    }
}

/// `path` as a daemon with that root has it.
pub(crate) fn under(root: Option<&Path>, path: &Path) -> PathBuf {
    match (root, path.strip_prefix("/")) {
        (Some(root), Ok(rest)) => root.join(rest),
        _ => path.to_owned(),
    }
}

/// Which daemon a program of that name is with these options.
///
/// # Errors
/// A driver that has no daemon.
pub(crate) fn daemon_name(options: &Options, program: &Path) -> Result<DaemonName> {
    match options.driver.as_slice() {
        [driver] => DaemonName::of_driver(driver),
        [] => Ok(DaemonName::of_program(program.as_os_str())),
        // Several: one daemon by its own name, on the sockets of each.
        [..] => Ok(DaemonName::monolithic()),
    }
}

/// Refuses an option that a program of that name does not have: libvirt's daemons of single drivers, and the one before
/// them, are without `--listen`.
///
/// # Errors
/// `INVALID_ARG` naming the option and what to do instead.
pub(super) fn check_options(options: &Options, program: &Path) -> Result<()> {
    if !options.listen {
        return Ok(());
    }
    let name = daemon_name(options, program)?;
    if Role::new(&name.name, true).listens_with_option() {
        return Ok(());
    }
    let instead = match name.has_network() {
        true => "it listens as its configuration says (listen_tls, listen_tcp)",
        false => "it never listens on the network, which virtproxyd and libvirtd do",
    };
    Err(VirtError::invalid_arg(format_args!(
        "{} has no option --listen: {instead}",
        name.name
    )))
}

/// The configuration of a daemon with these options whose own file is `usual`.
///
/// # Errors
/// A file that cannot be read or is wrong.
pub(crate) fn load(options: &Options, role: &Role, usual: &Path) -> Result<Loaded> {
    match (&options.config, &options.root) {
        (None, None) => DaemonConfig::load(role, None),
        (Some(named), _) => DaemonConfig::load(role, Some(named)),
        (None, Some(_)) if usual.exists() => DaemonConfig::load(role, Some(usual)),
        // Below a root there may be none, and the machine's own is not ours.
        (None, Some(_)) => Ok(Loaded::defaults(role)),
    }
}

/// The step of the start that a mistake in the configuration belongs to. libvirt reads the modes of sockets when it makes
/// them, and ends with that step's status.
pub(super) fn step_of(mistake: &VirtError) -> Step {
    let is_mode = |key: &str| key.starts_with("unix_sock_") && key.ends_with("_perms");
    match mistake.code() == ErrorCode::CONFIG_UNSUPPORTED && mistake.str2().is_some_and(is_mode) {
        true => Step::Network,
        false => Step::Config,
    }
}

/// The file of SASL users. The machine's own users are not those of a daemon with a root.
pub(crate) fn password_file(config: &DaemonConfig, role: &Role, root: Option<&Path>) -> PathBuf {
    match &config.sasl_password_file {
        Some(path) => PathBuf::from(path),
        None => under(root, &default_password_file(role)),
    }
}

/// The sockets in `folder`.
pub(super) fn move_sockets(paths: Paths, folder: &Path) -> Paths {
    // No folder is the root, as for libvirt, which puts names behind a slash.
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("/"),
        false => folder,
    };
    let move_it = |path: PathBuf| match path.file_name() {
        Some(name) => folder.join(name),
        None => path,
    };
    Paths {
        socket: move_it(paths.socket),
        socket_ro: paths.socket_ro.map(move_it),
        socket_admin: move_it(paths.socket_admin),
        ..paths
    }
}

pub(super) fn log_config(config: &DaemonConfig, options: &Options, file: &Path) -> LogConfig {
    LogConfig {
        level: config.log_level.0,
        filters: config
            .log_filters
            .as_ref()
            .map(|filters| filters.0.clone())
            .unwrap_or_default(),
        outputs: config
            .log_outputs
            .as_ref()
            .map(|outputs| outputs.0.clone())
            .unwrap_or_default(),
        verbose: options.verbose,
        background: options.daemon,
        file: Some(file.to_owned()),
    }
}

/// The server's limits as the configuration has them.
pub(super) fn settings(config: &DaemonConfig) -> Settings {
    let interval = |seconds: i32| {
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        seconds.map(Duration::from_secs)
    };
    Settings {
        max_clients: config.max_clients as usize,
        max_anonymous_clients: config.max_anonymous_clients as usize,
        max_client_requests: config.max_client_requests.0 as usize,
        min_workers: config.min_workers.min(config.max_workers.0) as usize,
        max_workers: config.max_workers.0 as usize,
        prio_workers: config.prio_workers as usize,
        admin_max_clients: config.admin_max_clients as usize,
        admin_min_workers: config.admin_min_workers.min(config.admin_max_workers) as usize,
        admin_max_workers: config.admin_max_workers as usize,
        admin_max_client_requests: config.admin_max_client_requests.0 as usize,
        keepalive_interval: interval(config.keepalive_interval),
        keepalive_count: config.keepalive_count,
        stay_awake: Duration::from_micros(config.stay_awake.0.into()),
        admin_keepalive_interval: interval(config.admin_keepalive_interval),
        admin_keepalive_count: config.admin_keepalive_count,
        ..Settings::default()
    }
}

/// The UUID by which drivers know this host. One that the firmware has not got lasts as long as the daemon.
///
/// # Errors
/// A machine's number that is demanded and not there.
pub(super) fn host_uuid(config: &DaemonConfig) -> Result<Uuid> {
    if let Some(configured) = &config.host_uuid {
        return uuid::parse(&configured.0);
    }
    let usable = |text: &str| uuid::parse(text).ok().filter(uuid::is_meaningful);
    match config.host_uuid_source {
        HostUuidSource::Smbios => {
            let firmware = virt_util::host::Host::system().firmware_uuid();
            Ok(firmware
                .and_then(|text| usable(&text))
                .unwrap_or_else(uuid::generate))
        }
        HostUuidSource::MachineId => {
            let content = durable::read(Path::new(MACHINE_ID), 4096)?.unwrap_or_default();
            usable(&String::from_utf8_lossy(&content)).ok_or_else(|| {
                VirtError::new(
                    ErrorCode::CONFIG_UNSUPPORTED,
                    format_args!("host_uuid_source = \"machine-id\": '{MACHINE_ID}' has no usable number"),
                )
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn only_the_daemon_for_everything_listens_by_option() {
        let check = |words: &[&str]| {
            let options = Options::try_parse_from(words).expect("the options are known");
            check_options(&options, Path::new(words[0]))
        };
        assert_eq!(check(&["libvirtd", "--listen"]), Ok(()));
        assert_eq!(
            check(&["virtd", "-l", "--driver", "qemu", "--driver", "test"]),
            Ok(())
        );
        for name in DaemonName::installed() {
            assert_eq!(check(&[name]), Ok(()));
            if name != "libvirtd" {
                let error = check(&[name, "-l"]).unwrap_err();
                assert!(
                    error
                        .message()
                        .contains(&format!("{name} has no option --listen")),
                    "{error}"
                );
            }
        }
        let error = check(&["virtd", "--listen", "--driver", "qemu"]).unwrap_err();
        assert!(error.message().contains("virtqemud has no option"), "{error}");
    }
}
