//! What a guest without USB cannot have, found out while its devices are read.

use virt_util::xml::{At, Element, Reader, error_with};
use virt_util::{ErrorCode, Result};

use super::controller::{Controller, ControllerKind, UsbControllerModel};
use super::hostdev::{Hostdev, HostdevPass, HostdevSubsys};
use super::input::{Hub, Input, InputBus};

/// Whether a controller says that there is no USB; `None` for one that is not of USB.
fn says_none(controller: &Controller) -> Option<bool> {
    match &controller.kind {
        ControllerKind::Usb { model, .. } => Some(*model == Some(UsbControllerModel::None)),
        _ => None,
    }
}

fn is_off(controllers: &[Controller]) -> bool {
    controllers
        .iter()
        .any(|controller| says_none(controller) == Some(true))
}

/// A guest has no USB, or controllers one of which is a master.
pub(super) fn check_controllers(
    controllers: &[Controller],
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    let (mut none, mut some, mut master) = (0, 0, false);
    for controller in controllers {
        let Some(off) = says_none(controller) else {
            continue;
        };
        if off {
            none += 1;
        } else {
            some += 1;
        }
        master |= controller.info.usb_master_port.is_none();
    }
    let what = if none > 1 || none == 1 && some > 0 {
        "Can't add another USB controller: USB is disabled for this domain"
    } else if some > 0 && !master {
        "No master USB controller specified"
    } else {
        return Ok(());
    };
    cx.fail(error_with(
        ErrorCode::XML_DETAIL,
        element,
        At::Child("controller"),
        what,
    ))
}

fn refuse_if(wrong: bool, element: Element<'_>, name: &str, what: &str, cx: &mut Reader) -> Result<()> {
    match wrong {
        false => Ok(()),
        true => cx.fail(error_with(
            ErrorCode::CONFIG_UNSUPPORTED,
            element,
            At::Child(name),
            what,
        )),
    }
}

pub(super) fn check_inputs(
    controllers: &[Controller],
    inputs: &[Input],
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    let wrong = inputs.iter().any(|input| input.bus == Some(InputBus::Usb)) && is_off(controllers);
    refuse_if(
        wrong,
        element,
        "input",
        "Can't add USB input device. USB bus is disabled",
        cx,
    )
}

pub(super) fn check_hostdevs(
    controllers: &[Controller],
    hostdevs: &[Hostdev],
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    let is_usb = |hostdev: &Hostdev| match &hostdev.mode {
        HostdevPass::Subsystem(subsystem) => matches!(**subsystem, HostdevSubsys::Usb { .. }),
        HostdevPass::Capabilities(_) => false,
    };
    let wrong = hostdevs.iter().any(is_usb) && is_off(controllers);
    refuse_if(
        wrong,
        element,
        "hostdev",
        "Can't add host USB device: USB is disabled in this host",
        cx,
    )
}

pub(super) fn check_hubs(
    controllers: &[Controller],
    hubs: &[Hub],
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    let wrong = !hubs.is_empty() && is_off(controllers);
    refuse_if(
        wrong,
        element,
        "hub",
        "Can't add USB hub: USB is disabled for this domain",
        cx,
    )
}
