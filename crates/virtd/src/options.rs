//! The command line: libvirtd's options, and a few of ours.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

/// The longest timeout that libvirt's daemon takes: so many milliseconds fit a number of 32 bits.
const TIMEOUT_MAX: i64 = i32::MAX as i64 / 1000;

/// Seconds of the option `--timeout`.
fn seconds(text: &str) -> Result<u32, String> {
    let number = text
        .parse::<i64>()
        .ok()
        .filter(|number| (0..=TIMEOUT_MAX).contains(number));
    number
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| format!("expected seconds from 0 to {TIMEOUT_MAX}, 0 for never"))
}

/// What the daemon was told when it was started. Of an option that is given twice the last counts, as in libvirtd, so that
/// options can be added behind those of a unit.
#[derive(Clone, Debug, Parser)]
#[command(
    about = "Manages virtual machines and serves them to libvirt's clients",
    long_about = None,
    disable_version_flag = true
)]
pub struct Options {
    /// Say more in the log
    #[arg(short, long, overrides_with = "verbose")]
    pub verbose: bool,
    /// Run in the background, and write a pid file
    #[arg(short, long, overrides_with = "daemon")]
    pub daemon: bool,
    /// Listen for network connections
    #[arg(short, long, overrides_with = "listen")]
    pub listen: bool,
    /// End after so many seconds without clients and without anything that needs the daemon; 0 for never
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        value_parser = seconds,
        allow_negative_numbers = true,
        overrides_with = "timeout"
    )]
    pub timeout: Option<u32>,
    /// The configuration file
    #[arg(short = 'f', long, value_name = "FILE", overrides_with = "config")]
    pub config: Option<PathBuf>,
    /// The pid file
    #[arg(short, long, value_name = "FILE", overrides_with = "pid_file")]
    pub pid_file: Option<PathBuf>,
    /// Serve this driver alone, as libvirt's modular daemons do; may be given several times
    #[arg(long, value_name = "NAME")]
    pub driver: Vec<String>,
    /// Answer on the sockets of libvirt's modular daemons too
    #[arg(long, overrides_with = "modular")]
    pub modular: bool,
    /// A folder in which everything lies instead of the machine's own: configuration, sockets, guests
    #[arg(long, value_name = "FOLDER", overrides_with = "root")]
    pub root: Option<PathBuf>,
    /// Answer numbers for Prometheus on a Unix socket in this file
    #[arg(long, value_name = "FILE", overrides_with = "metrics")]
    pub metrics: Option<PathBuf>,
    /// Print a configuration file with every setting, its explanation and its default
    #[arg(long, conflicts_with_all = ["set_password", "delete_password", "import_passwords", "check_policy"])]
    pub print_config: bool,
    /// Give a SASL user a new password, read from the terminal or the first line of the input
    #[arg(long, value_name = "USER", conflicts_with_all = ["delete_password", "import_passwords", "check_policy"])]
    pub set_password: Option<String>,
    /// Take a SASL user out
    #[arg(long, value_name = "USER", conflicts_with_all = ["import_passwords", "check_policy"])]
    pub delete_password: Option<String>,
    /// Take over the SASL users of libvirt's daemon from the database made by saslpasswd2; without a file, from the one
    /// that /etc/sasl2/libvirt.conf names
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "check_policy")]
    pub import_passwords: Option<Option<PathBuf>>,
    /// Say whether a policy file can be used
    #[arg(long, value_name = "FILE")]
    pub check_policy: Option<PathBuf>,
    /// For a driver in a process of its own: the socket on which its daemon finds it
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub isolated_socket: Option<PathBuf>,
    /// Show the version
    #[arg(short = 'V', long)]
    pub version: bool,
}

impl Options {
    /// Makes paths absolute that are relative to `folder`, here and in the command line for a successor: a daemon in the
    /// background leaves the folder it was started in.
    pub fn make_absolute(&mut self, folder: &Path, argv: &mut Vec<OsString>) {
        let paths = [
            ("--config", &mut self.config),
            ("--pid-file", &mut self.pid_file),
            ("--root", &mut self.root),
            ("--metrics", &mut self.metrics),
        ];
        for (option, path) in paths {
            if let Some(path) = path
                && path.is_relative()
            {
                *path = folder.join(&*path);
                argv.extend([option.into(), path.clone().into_os_string()]);
            }
        }
    }

    /// After how long without anything to do the daemon ends.
    pub fn idle_time(&self) -> Option<Duration> {
        let seconds = self.timeout.filter(|seconds| *seconds > 0);
        seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn options_are_libvirtds() {
        Options::command().debug_assert();
        let options =
            Options::try_parse_from(["libvirtd", "-d", "-l", "-v", "-f", "a", "-p", "b", "-t", "30"])
                .unwrap();
        assert!(options.daemon && options.listen && options.verbose);
        assert_eq!(options.timeout, Some(30));
        let options =
            Options::try_parse_from(["libvirtd", "--timeout=120", "--pid-file", "x", "--config=y"]).unwrap();
        assert_eq!((options.timeout, options.pid_file), (Some(120), Some("x".into())));
        // As unit files say that it is not to end.
        let options = Options::try_parse_from(["libvirtd", "--timeout=0"]).unwrap();
        assert_eq!(options.idle_time(), None);
        for timeout in ["-1", "2147484", "x"] {
            let error = Options::try_parse_from(["libvirtd", "--timeout", timeout]).unwrap_err();
            let told = error.to_string();
            assert!(
                told.contains(timeout) && told.contains("from 0 to 2147483"),
                "{told}"
            );
        }
    }

    #[test]
    fn the_last_of_an_option_counts() {
        let options = Options::try_parse_from(["libvirtd", "--timeout", "120", "-t", "30"]).unwrap();
        assert_eq!(options.timeout, Some(30));
        let options = Options::try_parse_from(["libvirtd", "-v", "-d", "-l", "-v", "-d", "-l"]).unwrap();
        assert!(options.verbose && options.daemon && options.listen);
        let options = Options::try_parse_from(["virtd", "--driver", "test", "--driver", "qemu"]).unwrap();
        assert_eq!(options.driver, ["test", "qemu"]);
    }

    #[test]
    fn paths_do_not_depend_on_the_folder_of_the_process() {
        let mut argv: Vec<OsString> = ["virtd", "-f", "a.conf", "--root=/r"].map(Into::into).to_vec();
        let mut options = Options::try_parse_from(&argv).unwrap();
        options.make_absolute(Path::new("/here"), &mut argv);
        assert_eq!(options.config, Some("/here/a.conf".into()));
        assert_eq!(options.root, Some("/r".into()));
        // A successor is started with the same words, in another folder.
        let again = Options::try_parse_from(&argv).unwrap();
        assert_eq!((again.config, again.root), (options.config, options.root));
    }

    #[test]
    fn the_manual_page_has_them_all() {
        let page = include_str!("../files/man/virtd.8").replace("\\-", "-");
        let command = Options::command();
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let long = format!("--{}", argument.get_long().unwrap());
            let known = page
                .lines()
                .any(|line| line.starts_with(".B") && line.split([' ', '"']).any(|word| word == long));
            assert!(known, "{long}");
        }
    }
}
