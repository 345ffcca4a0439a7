//! Facts in Prometheus' text format.

use std::fmt::{Display, Write};

use super::{BOUNDS_MICROS, Facts, STATES};

/// The text.
pub fn render(facts: &Facts) -> String {
    let mut page = Page::default();
    page.head("virtd_info", "gauge", "The daemon and its versions.");
    page.line(
        "virtd_info",
        &[
            ("daemon", facts.daemon.as_str()),
            ("version", env!("CARGO_PKG_VERSION")),
            ("libvirt_version", &libvirt_version()),
        ],
        1,
    );
    page.servers(facts);
    page.workers(facts);
    page.calls(facts);
    page.guests(facts);
    page.process();
    page.text
}

fn libvirt_version() -> String {
    let version = virt_api::LIBVIRT_VERSION;
    format!(
        "{}.{}.{}",
        version / 1_000_000,
        version / 1000 % 1000,
        version % 1000
    )
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail; so below.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"", if at == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    fn servers(&mut self, facts: &Facts) {
        self.head("virtd_clients", "gauge", "Clients that are connected.");
        for server in &facts.servers {
            for (transport, clients) in ["unix", "tcp", "tls"].iter().zip(server.clients) {
                self.line(
                    "virtd_clients",
                    &[("server", &server.name), ("transport", transport)],
                    clients,
                );
            }
        }
        self.head(
            "virtd_clients_unauthenticated",
            "gauge",
            "Clients that have not proved who they are.",
        );
        for server in &facts.servers {
            self.line(
                "virtd_clients_unauthenticated",
                &[("server", &server.name)],
                server.anonymous,
            );
        }
        self.head("virtd_clients_max", "gauge", "The most clients at a time.");
        for server in &facts.servers {
            self.line(
                "virtd_clients_max",
                &[("server", &server.name)],
                server.clients_max,
            );
        }
        self.head(
            "virtd_clients_accepted_total",
            "counter",
            "Clients since the daemon's start.",
        );
        for server in &facts.servers {
            self.line(
                "virtd_clients_accepted_total",
                &[("server", &server.name)],
                server.accepted,
            );
        }
    }

    fn workers(&mut self, facts: &Facts) {
        let workers = &facts.workers;
        self.head("virtd_workers", "gauge", "Threads in which drivers are called.");
        self.line("virtd_workers", &[("kind", "any")], workers.any);
        self.line("virtd_workers", &[("kind", "priority")], workers.priority);
        self.head(
            "virtd_workers_idle",
            "gauge",
            "Threads for any call that wait for one.",
        );
        self.line("virtd_workers_idle", &[], workers.idle);
        self.head("virtd_calls_queued", "gauge", "Calls that wait for a thread.");
        self.line("virtd_calls_queued", &[], workers.queued);
        self.head(
            "virtd_calls_running",
            "gauge",
            "Calls in threads, or waiting for one.",
        );
        self.line("virtd_calls_running", &[], workers.running);
    }

    fn calls(&mut self, facts: &Facts) {
        self.head(
            "virtd_call_errors_total",
            "counter",
            "Calls that ended in an error.",
        );
        for driver in &facts.drivers {
            for procedure in &driver.procedures {
                self.line(
                    "virtd_call_errors_total",
                    &[("driver", &driver.name), ("procedure", procedure.name)],
                    procedure.counted.failed,
                );
            }
        }
        let name = "virtd_call_duration_seconds";
        self.head(name, "histogram", "How long drivers took to answer calls.");
        for driver in &facts.drivers {
            for procedure in &driver.procedures {
                let labels = [("driver", driver.name.as_str()), ("procedure", procedure.name)];
                let mut below = 0;
                for (bound, count) in BOUNDS_MICROS.iter().zip(procedure.counted.buckets) {
                    below += count;
                    let bound = seconds(*bound);
                    let [driver, procedure] = labels;
                    self.line(
                        "virtd_call_duration_seconds_bucket",
                        &[driver, procedure, ("le", &bound)],
                        below,
                    );
                }
                let total = procedure.counted.total();
                let [of, called] = labels;
                self.line(
                    "virtd_call_duration_seconds_bucket",
                    &[of, called, ("le", "+Inf")],
                    total,
                );
                self.line(
                    "virtd_call_duration_seconds_sum",
                    &labels,
                    seconds(procedure.counted.micros),
                );
                self.line("virtd_call_duration_seconds_count", &labels, total);
            }
        }
        self.head(
            "virtd_lost_workers",
            "gauge",
            "Calls that were given up and still hold a thread of their driver.",
        );
        for driver in &facts.drivers {
            self.line("virtd_lost_workers", &[("driver", &driver.name)], driver.lost);
        }
    }

    fn guests(&mut self, facts: &Facts) {
        self.head(
            "virtd_guests_known",
            "gauge",
            "Whether the driver told its guests in time.",
        );
        for guests in &facts.guests {
            self.line(
                "virtd_guests_known",
                &[("driver", &guests.driver)],
                u8::from(guests.known),
            );
        }
        let known = || facts.guests.iter().filter(|guests| guests.known);
        self.head("virtd_domains", "gauge", "Domains by state.");
        for guests in known() {
            for (state, count) in STATES.iter().zip(guests.states) {
                self.line(
                    "virtd_domains",
                    &[("driver", &guests.driver), ("state", state)],
                    count,
                );
            }
        }
        self.head(
            "virtd_silent_monitors",
            "gauge",
            "Running domains whose hypervisor process does not answer.",
        );
        for guests in known() {
            self.line(
                "virtd_silent_monitors",
                &[("driver", &guests.driver)],
                guests.silent,
            );
        }
    }

    /// What Prometheus expects to know about every process.
    fn process(&mut self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            status.lines().find_map(|line| {
                line.strip_prefix(name)?
                    .trim()
                    .split(' ')
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
        };
        if let Some(kib) = field("VmRSS:") {
            self.head("process_resident_memory_bytes", "gauge", "Resident memory.");
            self.line("process_resident_memory_bytes", &[], kib.saturating_mul(1024));
        }
        if let Some(threads) = field("Threads:") {
            self.head("process_threads", "gauge", "Threads.");
            self.line("process_threads", &[], threads);
        }
        if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
            self.head("process_open_fds", "gauge", "Open descriptors.");
            self.line("process_open_fds", &[], fds.count());
        }
        use nix::sys::time::TimeValLike;
        if let Ok(usage) = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF) {
            let time = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
            self.head("process_cpu_seconds_total", "counter", "Processor time.");
            self.line(
                "process_cpu_seconds_total",
                &[],
                time(usage.user_time()) + time(usage.system_time()),
            );
        }
    }
}

/// Microseconds as seconds, without the noise of binary fractions.
fn seconds(micros: u64) -> String {
    let whole = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let short = whole.trim_end_matches('0');
    short.strip_suffix('.').unwrap_or(short).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_page_is_what_prometheus_reads() {
        let durations = Durations::default();
        durations.count(Duration::from_micros(30), true);
        durations.count(Duration::from_micros(300), false);
        let facts = Facts {
            daemon: "virt\"qemu\"d".to_owned(),
            servers: vec![ServerFacts {
                name: "libvirtd".to_owned(),
                clients: [3, 0, 1],
                ..ServerFacts::default()
            }],
            drivers: vec![DriverFacts {
                name: "qemu".to_owned(),
                procedures: vec![ProcedureFacts {
                    name: "domain_get_info",
                    counted: durations.counted(),
                }],
                lost: 2,
            }],
            guests: vec![
                GuestFacts {
                    driver: "qemu".to_owned(),
                    states: [0, 4, 0, 0, 0, 1, 0, 0],
                    silent: 1,
                    known: true,
                },
                GuestFacts {
                    driver: "lxc".to_owned(),
                    ..GuestFacts::default()
                },
            ],
            ..Facts::default()
        };
        let page = render(&facts);
        for line in [
            "virtd_clients{server=\"libvirtd\",transport=\"tls\"} 1",
            "virtd_call_duration_seconds_bucket{driver=\"qemu\",procedure=\"domain_get_info\",le=\"0.00005\"} 1",
            "virtd_call_duration_seconds_bucket{driver=\"qemu\",procedure=\"domain_get_info\",le=\"+Inf\"} 2",
            "virtd_call_duration_seconds_sum{driver=\"qemu\",procedure=\"domain_get_info\"} 0.00033",
            "virtd_call_errors_total{driver=\"qemu\",procedure=\"domain_get_info\"} 1",
            "virtd_lost_workers{driver=\"qemu\"} 2",
            "virtd_domains{driver=\"qemu\",state=\"running\"} 4",
            "virtd_silent_monitors{driver=\"qemu\"} 1",
            "virtd_guests_known{driver=\"lxc\"} 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
        assert!(page.contains("daemon=\"virt\\\"qemu\\\"d\""));
        assert!(!page.contains("virtd_domains{driver=\"lxc\""));
        // Every line is a comment or a name with a number.
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
        }
    }

    #[test]
    fn microseconds_are_seconds() {
        assert_eq!(seconds(10), "0.00001");
        assert_eq!(seconds(60_000_000), "60");
        assert_eq!(seconds(1_500_000), "1.5");
    }
}
