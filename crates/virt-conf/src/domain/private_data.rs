//! What the driver keeps with a part of a running domain: `<privateData>` of status files, which nobody else reads.

use virt_util::Result;
use virt_util::xml::{Element, KeptElement, Reader, Writer, XmlElement, XmlFlags};

/// The driver's own data; in a box, because only running domains have some.
pub type PrivateData = Option<Box<KeptElement>>;

/// `with` on `"."`: reads `<privateData>`, of status files alone.
///
/// # Errors
/// None.
pub fn read(element: Element<'_>, cx: &mut Reader) -> Result<PrivateData> {
    let child = element.child("privateData").filter(|_| cx.has(XmlFlags::STATUS));
    child
        .map(|child| KeptElement::read(child, cx).map(Box::new))
        .transpose()
}

/// `with` on `"."`: writes `<privateData>`, into status files alone.
pub fn write(value: &PrivateData, w: &mut Writer) {
    if let Some(data) = value.as_ref().filter(|_| w.has(XmlFlags::STATUS)) {
        data.write(w, "privateData");
    }
}
