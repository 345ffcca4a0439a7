//! Ports of a guest's USB buses and hubs.

use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

/// Deepest chain of hubs.
pub const MAX_DEPTH: usize = 4;
/// Ports of QEMU's hub.
pub const HUB_PORTS: usize = 8;

/// Addresses are a matter of definitions, whoever has drivers for them.
fn error(code: ErrorCode, what: impl std::fmt::Display) -> VirtError {
    VirtError::new(code, what).in_domain(ErrorDomain::DOMAIN)
}

/// A path of ports from a controller down.
pub type Path = Vec<u32>;

/// Reads `1.2`.
///
/// # Errors
/// `XML_ERROR` for anything else.
pub fn parse_path(text: &str) -> Result<Path> {
    let path: Option<Path> = text
        .split('.')
        .map(|part| part.parse().ok().filter(|port| *port != 0))
        .collect();
    path.filter(|path| path.len() <= MAX_DEPTH)
        .ok_or_else(|| error(ErrorCode::XML_ERROR, format_args!("'{text}' is no USB port")))
}

/// Writes `1.2`.
pub fn format_path(path: &[u32]) -> String {
    path.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

/// What is about to happen to a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Takes,
    /// It is freed, or gets a hub with free ports.
    Opens,
}

/// A hub, or a controller's own ports.
#[derive(Clone, Debug, Default)]
struct Hub {
    ports: Vec<Port>,
    /// Its own ports below are taken.
    next: usize,
    /// Neither it nor a hub below it has a free port.
    full: bool,
}

#[derive(Clone, Debug, Default)]
struct Port {
    taken: bool,
    hub: Option<Box<Hub>>,
}

impl Hub {
    fn new(ports: usize) -> Self {
        Self {
            ports: vec![Port::default(); ports],
            next: 0,
            full: false,
        }
    }

    fn free(&mut self, path: &mut Path) -> bool {
        if self.full {
            return false;
        }
        let free = self.ports.iter().skip(self.next).position(|port| !port.taken);
        self.next = free.map_or(self.ports.len(), |free| self.next + free);
        if free.is_some() {
            path.push(self.next as u32 + 1);
            return true;
        }
        self.full = true;
        if path.len() + 1 >= MAX_DEPTH {
            return false;
        }
        for (index, port) in self.ports.iter_mut().enumerate() {
            let Some(hub) = &mut port.hub else { continue };
            path.push(index as u32 + 1);
            if hub.free(path) {
                self.full = false;
                return true;
            }
            path.pop();
        }
        false
    }
}

/// The USB buses of a guest.
#[derive(Clone, Debug, Default)]
pub struct AddressSet {
    buses: Vec<Option<Hub>>,
    /// Buses below have no free port.
    open: usize,
}

impl AddressSet {
    /// Adds a controller with `ports` ports of its own. Companions have none and add nothing.
    ///
    /// # Errors
    /// `XML_ERROR` if there is one of that index.
    pub fn add_controller(&mut self, index: u32, ports: usize) -> Result<()> {
        if ports == 0 {
            return Ok(());
        }
        let at = index as usize;
        if at > 0xffff {
            return Err(error(
                ErrorCode::XML_ERROR,
                format_args!("USB controller index {index} is too large"),
            ));
        }
        if self.buses.len() <= at {
            self.buses.resize_with(at + 1, || None);
        }
        match self.buses.get_mut(at) {
            Some(slot @ None) => {
                *slot = Some(Hub::new(ports.min(255)));
                self.open = self.open.min(at);
            }
            _ => {
                let what = format!("there are two USB controllers with index {index}");
                return Err(error(ErrorCode::XML_ERROR, what));
            }
        }
        Ok(())
    }

    /// A port. With `Change::Opens` the hubs on the way to it will have free ports again.
    fn port(&mut self, bus: u32, path: &[u32], change: Change) -> Result<&mut Port> {
        let fail = || {
            let port = format_path(path);
            error(
                ErrorCode::XML_ERROR,
                format_args!("there is no USB port {port} on bus {bus}"),
            )
        };
        let (last, hubs) = path.split_last().ok_or_else(fail)?;
        let last = (*last as usize).wrapping_sub(1);
        if change == Change::Opens {
            self.open = self.open.min(bus as usize);
        }
        let mut hub = self
            .buses
            .get_mut(bus as usize)
            .and_then(Option::as_mut)
            .ok_or_else(fail)?;
        for port in hubs {
            hub.full &= change != Change::Opens;
            let index = (*port as usize).wrapping_sub(1);
            hub = hub
                .ports
                .get_mut(index)
                .and_then(|port| port.hub.as_deref_mut())
                .ok_or_else(fail)?;
        }
        if change == Change::Opens {
            hub.full = false;
            hub.next = hub.next.min(last);
        }
        hub.ports.get_mut(last).ok_or_else(fail)
    }

    /// Puts a hub at a port.
    ///
    /// # Errors
    /// `XML_ERROR` if there is no such port or it has a hub.
    pub fn add_hub(&mut self, bus: u32, path: &[u32]) -> Result<()> {
        let port = self.port(bus, path, Change::Opens)?;
        if port.hub.is_some() {
            let what = format!("USB port {} on bus {bus} has a hub already", format_path(path));
            return Err(error(ErrorCode::XML_ERROR, what));
        }
        port.taken = true;
        port.hub = Some(Box::new(Hub::new(HUB_PORTS)));
        Ok(())
    }

    /// Takes a port.
    ///
    /// # Errors
    /// `XML_ERROR` if there is no such port or it is taken.
    pub fn reserve(&mut self, bus: u32, path: &[u32]) -> Result<()> {
        let port = self.port(bus, path, Change::Takes)?;
        if port.taken {
            let what = format!("port {} of USB bus {bus} is taken", format_path(path));
            return Err(error(ErrorCode::XML_ERROR, what));
        }
        port.taken = true;
        Ok(())
    }

    /// Frees a port.
    pub fn release(&mut self, bus: u32, path: &[u32]) {
        if let Ok(port) = self.port(bus, path, Change::Opens) {
            port.taken = false;
        }
    }

    /// Takes the first free port, of `bus` if one is given.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if there is none, `XML_ERROR` if there is no such bus.
    pub fn reserve_next(&mut self, bus: Option<u32>) -> Result<(u32, Path)> {
        if let Some(bus) = bus
            && !matches!(self.buses.get(bus as usize), Some(Some(_)))
        {
            return Err(error(
                ErrorCode::XML_ERROR,
                format_args!("there is no USB controller with index {bus}"),
            ));
        }
        let buses = match bus {
            Some(bus) => bus..bus.saturating_add(1),
            None => self.open as u32..self.buses.len() as u32,
        };
        let any = bus.is_none();
        for bus in buses {
            let mut path = Path::new();
            let found = self
                .buses
                .get_mut(bus as usize)
                .and_then(Option::as_mut)
                .is_some_and(|hub| hub.free(&mut path));
            if any {
                self.open = bus as usize;
            }
            if found {
                self.reserve(bus, &path)?;
                return Ok((bus, path));
            }
        }
        Err(error(ErrorCode::INTERNAL_ERROR, "all USB ports are taken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_then_hubs() {
        let mut set = AddressSet::default();
        set.add_controller(0, 2).unwrap();
        set.add_controller(1, 0).unwrap();
        assert!(set.add_controller(0, 2).is_err());
        assert_eq!(set.reserve_next(None).unwrap(), (0, vec![1]));
        set.add_hub(0, &[2]).unwrap();
        assert_eq!(set.reserve_next(None).unwrap(), (0, vec![2, 1]));
        assert!(set.reserve(0, &[2, 1]).is_err());
        assert!(set.reserve(0, &[3]).is_err());
        assert!(set.reserve(0, &[1, 1]).is_err());
        for port in 2..=8 {
            assert_eq!(set.reserve_next(Some(0)).unwrap(), (0, vec![2, port]));
        }
        assert!(set.reserve_next(None).is_err());
        let code = |bus| set.clone().reserve_next(bus).unwrap_err().code();
        assert_eq!(code(Some(7)), ErrorCode::XML_ERROR);
        // Companions have no ports of their own.
        assert_eq!(code(Some(1)), ErrorCode::XML_ERROR);
        assert_eq!(code(Some(0)), ErrorCode::INTERNAL_ERROR);
        assert_eq!(set.reserve(0, &[3]).unwrap_err().domain(), ErrorDomain::DOMAIN);
    }

    #[test]
    fn ports_that_are_freed_and_hubs_that_are_added_are_found() {
        let mut set = AddressSet::default();
        set.add_controller(1, 2).unwrap();
        set.add_controller(2, 1).unwrap();
        for expected in [(1, vec![1]), (1, vec![2]), (2, vec![1])] {
            assert_eq!(set.reserve_next(None).unwrap(), expected);
        }
        assert!(set.reserve_next(None).is_err());
        set.release(1, &[2]);
        assert_eq!(set.reserve_next(None).unwrap(), (1, vec![2]));
        set.release(1, &[1]);
        set.add_hub(1, &[1]).unwrap();
        for port in 1..=8 {
            assert_eq!(set.reserve_next(None).unwrap(), (1, vec![1, port]));
        }
        assert!(set.reserve_next(Some(1)).is_err());
        set.release(1, &[1, 8]);
        set.add_hub(1, &[1, 8]).unwrap();
        assert_eq!(set.reserve_next(Some(1)).unwrap(), (1, vec![1, 8, 1]));
        set.add_controller(0, 1).unwrap();
        assert_eq!(set.reserve_next(None).unwrap(), (0, vec![1]));
    }

    #[test]
    fn paths() {
        assert_eq!(format_path(&parse_path("1.2").unwrap()), "1.2");
        for bad in ["", "0", "1.", "a", "1.2.3.4.5"] {
            assert!(parse_path(bad).is_err(), "{bad}");
        }
    }
}
