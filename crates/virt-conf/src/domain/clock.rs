//! The guest's clock and timers.

use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlElement, XmlFlags, error_at, push_signed, read};
use virt_util::{ErrorCode, Result};

xml_enum! {
    /// What the guest clock is set to at start.
    pub enum ClockOffset { Utc = "utc", Localtime = "localtime", Variable = "variable", Timezone = "timezone", Absolute = "absolute" }
}

xml_enum! {
    /// What a variable offset is relative to.
    pub enum ClockBasis { Utc = "utc", Localtime = "localtime" }
}

xml_enum! {
    /// A guest timer.
    pub enum TimerName { Platform = "platform", Pit = "pit", Rtc = "rtc", Hpet = "hpet", Tsc = "tsc", Kvmclock = "kvmclock", Hypervclock = "hypervclock", Armvtimer = "armvtimer" }
}

xml_enum! {
    /// Which host clock a timer follows.
    pub enum TimerTrack { Boot = "boot", Guest = "guest", Wall = "wall", Realtime = "realtime" }
}

xml_enum! {
    /// What happens to timer ticks that were missed.
    pub enum TickPolicy { Delay = "delay", Catchup = "catchup", Merge = "merge", Discard = "discard" }
}

xml_enum! {
    /// How the time stamp counter is provided.
    pub enum TimerMode { Auto = "auto", Native = "native", Emulate = "emulate", Paravirt = "paravirt", Smpsafe = "smpsafe" }
}

/// The guest's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// What it is set to at start.
    pub base: ClockBase,
    /// Timers.
    pub timers: Vec<Timer>,
}

/// What the guest's clock is set to at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockBase {
    /// UTC.
    Utc {
        /// What the guest set is forgotten at each start.
        reset: bool,
    },
    /// The host's time zone.
    Localtime {
        /// What the guest set is forgotten at each start.
        reset: bool,
    },
    /// As the guest left it.
    Variable {
        /// Seconds that the guest's clock differs from the basis.
        adjustment: i64,
        /// What it differs from.
        basis: ClockBasis,
        /// The difference at the last start; status files only.
        adjustment0: i64,
    },
    /// A time zone.
    Timezone {
        /// Its name.
        timezone: String,
    },
    /// A time.
    Absolute {
        /// Seconds since 1970.
        start: u64,
    },
}

impl Default for ClockBase {
    fn default() -> Self {
        Self::Utc { reset: false }
    }
}

/// A timer.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "timer")]
pub struct Timer {
    /// Which timer it is: `rtc`, `tsc`, `hpet` …
    #[xml("@name")]
    pub name: TimerName,
    /// Whether the guest has it.
    #[xml("@present")]
    pub present: Option<bool>,
    /// What happens to ticks that were missed.
    #[xml("@tickpolicy")]
    pub tick_policy: Option<TickPolicy>,
    /// Which clock it follows.
    #[xml("@track")]
    pub track: Option<TimerTrack>,
    /// Frequency in Hz (tsc).
    #[xml("@frequency", default, when = self.name == TimerName::Tsc)]
    pub frequency: u64,
    /// How it is provided (tsc).
    #[xml("@mode", when = self.name == TimerName::Tsc)]
    pub mode: Option<TimerMode>,
    /// How missed ticks are caught up.
    #[xml("catchup", omit_empty)]
    pub catchup: Option<Catchup>,
}

/// How missed ticks are caught up.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "catchup")]
pub struct Catchup {
    /// Missed ticks, in milliseconds, before it begins.
    #[xml("@threshold", default)]
    pub threshold: u64,
    /// Speed.
    #[xml("@slew", default)]
    pub slew: u64,
    /// Most that is caught up.
    #[xml("@limit", default)]
    pub limit: u64,
}

impl XmlElement for Clock {
    const NAME: &'static str = "clock";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        use virt_util::xml::XmlValue;
        // What hypervisors do with clocks differs: words that are none are unsupported.
        let offset: Option<ClockOffset> =
            read::coded(element, cx, (ErrorCode::CONFIG_UNSUPPORTED, None), |cx| {
                read::attr_nonempty(element, cx, "offset", XmlValue::parse_value)
            })?;
        let offset = offset.unwrap_or_default();
        let adjustment = element.attr("adjustment");
        let number = |text: &str| virt_util::xml::parse_integer::<i64>(text, 10);
        // A clock that is not reset keeps what the guest set: it is a variable one.
        let plain = |basis: ClockBasis| -> Result<ClockBase> {
            match (adjustment.as_deref(), basis) {
                (None, ClockBasis::Utc) => Ok(ClockBase::Utc { reset: false }),
                (None, ClockBasis::Localtime) => Ok(ClockBase::Localtime { reset: false }),
                (Some("reset"), ClockBasis::Utc) => Ok(ClockBase::Utc { reset: true }),
                (Some("reset"), ClockBasis::Localtime) => Ok(ClockBase::Localtime { reset: true }),
                (Some(text), basis) => {
                    let adjustment = number(text).map_err(|_| {
                        let what = format!(
                            "unknown clock adjustment '{text}', 'reset' or a number of seconds expected"
                        );
                        error_at(element, At::Attribute("adjustment"), what)
                    })?;
                    Ok(ClockBase::Variable {
                        adjustment,
                        basis,
                        adjustment0: 0,
                    })
                }
            }
        };
        let base = match offset {
            ClockOffset::Utc => plain(ClockBasis::Utc)?,
            ClockOffset::Localtime => plain(ClockBasis::Localtime)?,
            ClockOffset::Variable => ClockBase::Variable {
                adjustment: adjustment
                    .as_deref()
                    .and_then(|text| number(text).ok())
                    .unwrap_or_default(),
                basis: read::coded(element, cx, (ErrorCode::CONFIG_UNSUPPORTED, None), |cx| {
                    read::attr_nonempty(element, cx, "basis", XmlValue::parse_value)
                })?
                .unwrap_or_default(),
                adjustment0: read::attr(element, cx, "adjustment0", number)?.unwrap_or_default(),
            },
            ClockOffset::Timezone => {
                let timezone = read::attr_nonempty(element, cx, "timezone", XmlValue::parse_value)?;
                let timezone = read::required(element, At::Attribute("timezone"), timezone)
                    .map_err(|error| virt_util::xml::recoded(error, element, ErrorCode::INTERNAL_ERROR))?;
                ClockBase::Timezone { timezone }
            }
            ClockOffset::Absolute => {
                let start = read::coded(element, cx, (ErrorCode::INTERNAL_ERROR, None), |cx| {
                    let number = |text: &str| virt_util::xml::parse_integer(text, 10);
                    let start = read::attr(element, cx, "start", number)?;
                    read::required(element, At::Attribute("start"), start)
                })?;
                ClockBase::Absolute { start }
            }
        };
        Ok(Self {
            base,
            timers: read::children(element, cx, "timer")?,
        })
    }

    fn write_attributes(&self, w: &mut Writer) {
        let number =
            |w: &mut Writer, name: &str, value: i64| w.attribute_with(name, |out| push_signed(out, value));
        w.attribute("offset", self.base.offset().as_str());
        match &self.base {
            ClockBase::Utc { reset } | ClockBase::Localtime { reset } => {
                if *reset {
                    w.attribute("adjustment", "reset");
                }
            }
            ClockBase::Variable {
                adjustment,
                basis,
                adjustment0,
            } => {
                number(w, "adjustment", *adjustment);
                w.attribute("basis", basis.as_str());
                if w.has(XmlFlags::CLOCK_ADJUST) && *adjustment0 != 0 {
                    number(w, "adjustment0", *adjustment0);
                }
            }
            ClockBase::Timezone { timezone } => w.attribute("timezone", timezone),
            ClockBase::Absolute { start } => {
                w.attribute_with("start", |out| virt_util::xml::push_unsigned(out, *start));
            }
        }
    }

    fn write_content(&self, w: &mut Writer) {
        for timer in &self.timers {
            timer.write(w, "timer");
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("Clock", "clock", "The guest's clock." => {
            /// What the guest's clock follows.
            "@offset" => offset: value(ClockOffset),
            /// Seconds beside the base, or `reset`.
            "@adjustment" => adjustment: value(String),
            /// The base: UTC or local time.
            "@basis" => basis: value(ClockBasis),
            /// Seconds beside the base at the last start; in status files.
            "@adjustment0" => adjustment0: value(i64),
            /// Name of the time zone.
            "@timezone" => timezone: value(String),
            /// Time at start, in seconds since 1970.
            "@start" => start: value(u64),
            /// The guest's timers.
            "timer" => timers: elements(Timer),
        })
    }
}

impl ClockBase {
    /// The kind.
    pub fn offset(&self) -> ClockOffset {
        match self {
            Self::Utc { .. } => ClockOffset::Utc,
            Self::Localtime { .. } => ClockOffset::Localtime,
            Self::Variable { .. } => ClockOffset::Variable,
            Self::Timezone { .. } => ClockOffset::Timezone,
            Self::Absolute { .. } => ClockOffset::Absolute,
        }
    }
}
