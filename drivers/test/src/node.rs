//! The simulated host's hardware.

use virt_util::xml::Element;
use virt_util::{ErrorCode, Result};

use crate::error;

/// Processors and memory, as `virNodeInfo` tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The processor's model.
    pub model: String,
    /// Memory in KiB.
    pub memory: u64,
    /// Processors in use.
    pub cpus: u32,
    /// Their clock in MHz.
    pub mhz: u32,
    /// Memory nodes.
    pub nodes: u32,
    /// Sockets of a node.
    pub sockets: u32,
    /// Cores of a socket.
    pub cores: u32,
    /// Threads of a core.
    pub threads: u32,
}

impl Default for NodeInfo {
    fn default() -> Self {
        Self {
            model: "i686".to_owned(),
            memory: 3 * 1024 * 1024,
            cpus: 16,
            mhz: 1400,
            nodes: 2,
            sockets: 2,
            cores: 2,
            threads: 2,
        }
    }
}

/// The longest model name that `virNodeInfo` holds.
const MODEL_MAX: usize = 31;

impl NodeInfo {
    /// The default host with what `node` says otherwise.
    pub fn read(node: Element<'_>) -> Result<Self> {
        let mut info = Self::default();
        let cpu = node.child("cpu");
        let number = |name: &str| match cpu.and_then(|cpu| cpu.child(name)) {
            None => Ok(None),
            Some(element) => match element.text().trim().parse::<u32>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(error(
                    ErrorCode::XML_ERROR,
                    format_args!("invalid node cpu {name} value '{}'", element.text()),
                )),
            },
        };
        for (name, field) in [
            ("nodes", &mut info.nodes),
            ("sockets", &mut info.sockets),
            ("cores", &mut info.cores),
            ("threads", &mut info.threads),
            ("mhz", &mut info.mhz),
        ] {
            if let Some(value) = number(name)? {
                *field = value;
            }
        }
        info.cpus = [info.nodes, info.sockets, info.cores, info.threads]
            .into_iter()
            .fold(1, u32::saturating_mul);
        if let Some(active) = number("active")? {
            info.cpus = info.cpus.min(active);
        }
        if let Some(model) = cpu.and_then(|cpu| cpu.child("model")) {
            let model = model.text();
            if model.len() > MODEL_MAX {
                return Err(error(
                    ErrorCode::INTERNAL_ERROR,
                    format_args!("model '{model}' has {} bytes: {MODEL_MAX} at most", model.len()),
                ));
            }
            info.model = model.into_owned();
        }
        if let Some(memory) = node.child("memory") {
            info.memory = memory.text().trim().parse().map_err(|_| {
                error(
                    ErrorCode::XML_ERROR,
                    format_args!("/node/memory '{}': expected a number of KiB", memory.text()),
                )
            })?;
        }
        Ok(info)
    }
}

/// One memory node with its processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Memory in KiB.
    pub memory: u64,
    /// Free memory in KiB.
    pub free: u64,
    /// Processors, numbered on from the cell before.
    pub cpus: u32,
}

/// The default host's two cells. A host from a file has none.
pub const DEFAULT_CELLS: [Cell; 2] = [
    Cell {
        memory: 2048 * 1024,
        free: 1024 * 1024,
        cpus: 8,
    },
    Cell {
        memory: 2 * 2048 * 1024,
        free: 2 * 1024 * 1024,
        cpus: 8,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use virt_util::xml::Doc;

    fn read(text: &str) -> Result<NodeInfo> {
        NodeInfo::read(Doc::parse(text)?.root())
    }

    #[test]
    fn a_file_says_what_differs() {
        assert_eq!(read("<node/>").unwrap(), NodeInfo::default());
        let info = read(
            "<node><cpu><nodes>1</nodes><active>6</active><model>x</model></cpu><memory>5</memory></node>",
        );
        let info = info.unwrap();
        assert_eq!((info.nodes, info.cpus, info.memory), (1, 6, 5));
        assert_eq!(info.model, "x");
    }

    #[test]
    fn bad_numbers_are_refused() {
        for text in ["<node><cpu><mhz>x</mhz></cpu></node>", "<node><memory/></node>"] {
            assert_eq!(read(text).unwrap_err().code(), ErrorCode::XML_ERROR, "{text}");
        }
    }
}
