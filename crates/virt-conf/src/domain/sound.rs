//! Sound cards and the host's audio systems.

use virt_util::xml::{At, Element, Reader, Xml, XmlElement, error_with};
use virt_util::{ErrorCode, Result};

use super::device_info::{DeviceInfo, VirtioOptions};

xml_enum! {
    /// Model of a sound card.
    pub enum SoundModel { Sb16 = "sb16", Es1370 = "es1370", Pcspk = "pcspk", Ac97 = "ac97", Ich6 = "ich6", Ich9 = "ich9", Usb = "usb", Ich7 = "ich7", Virtio = "virtio" }
}

xml_enum! {
    /// A codec of a sound card.
    pub enum SoundCodecType { Duplex = "duplex", Micro = "micro", Output = "output" }
}

xml_enum! {
    /// The host audio system.
    pub enum AudioType { None = "none", Alsa = "alsa", Coreaudio = "coreaudio", Jack = "jack", Oss = "oss", Pulseaudio = "pulseaudio", Sdl = "sdl", Spice = "spice", File = "file", Dbus = "dbus", Pipewire = "pipewire" }
}

xml_enum! {
    /// What SDL plays through.
    pub enum SdlAudioDriver { Esd = "esd", Alsa = "alsa", Arts = "arts", Pulseaudio = "pulseaudio" }
}

xml_enum! {
    /// Sample format.
    pub enum AudioFormat { U8 = "u8", S8 = "s8", U16 = "u16", S16 = "s16", U32 = "u32", S32 = "s32", F32 = "f32" }
}

/// A sound card.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "sound")]
pub struct Sound {
    /// Which sound card the guest sees.
    #[xml("@model")]
    pub model: SoundModel,
    /// Whether a USB card has more than two channels.
    #[xml("@multichannel", read_when = model == SoundModel::Usb, when = self.model == SoundModel::Usb)]
    pub multichannel: Option<bool>,
    /// Streams of a virtio card.
    #[xml("@streams", default = 2, nonzero, always, read_when = model == SoundModel::Virtio, when = self.model == SoundModel::Virtio)]
    pub streams: u32,
    /// What is attached to an HD audio controller.
    #[xml("codec", read_when = has_codecs(model))]
    pub codecs: Vec<SoundCodec>,
    /// Audio back end; 0: none said.
    #[xml("audio@id", default, nonzero, expected)]
    pub audio: u32,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
    /// Options of virtio devices.
    #[xml("driver", flatten, when = self.model == SoundModel::Virtio)]
    pub virtio: VirtioOptions,
}

/// Whether the card is an HD audio controller, to which codecs are attached. Of others they are not looked at.
fn has_codecs(model: SoundModel) -> bool {
    matches!(model, SoundModel::Ich6 | SoundModel::Ich9)
}

/// A codec of a sound card.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "codec")]
pub struct SoundCodec {
    /// The codec.
    #[xml("@type", code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub kind: SoundCodecType,
}

/// An audio back end.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "audio")]
pub struct Audio {
    /// Number by which devices name it.
    #[xml("@id", nonzero)]
    pub id: u32,
    /// The host's audio system, and what only that has.
    #[xml(flatten)]
    pub backend: AudioBackend,
}

/// What all audio systems share: how the sound is mixed.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = AudioMixing::after_read)]
pub struct AudioMixing {
    /// Whether the hypervisor mixes.
    #[xml("@mixingEngine")]
    pub mixing_engine: Option<bool>,
    /// Whether the settings hold whatever the guest asks for.
    #[xml("@fixedSettings")]
    pub fixed_settings: Option<bool>,
    /// Number of voices.
    #[xml("@voices", default, nonzero)]
    pub voices: u32,
    /// Microseconds of the buffer.
    #[xml("@bufferLength", default, nonzero)]
    pub buffer_length: u32,
}

impl AudioMixing {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let fixed = self.fixed_settings == Some(true);
        let wrong = if fixed && self.mixing_engine != Some(true) {
            "fixed audio settings require the mixing engine"
        } else if !fixed && element.child("settings").is_some() {
            "audio settings are there without 'fixedSettings'"
        } else {
            return Ok(());
        };
        cx.fail(error_with(
            ErrorCode::CONFIG_UNSUPPORTED,
            element,
            At::Text,
            wrong,
        ))
    }
}

/// Fixed settings.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "settings")]
pub struct AudioSettings {
    /// Samples per second.
    #[xml("@frequency", default, nonzero)]
    pub frequency: u32,
    /// How many channels the sound has: 1 is mono, 2 is stereo.
    #[xml("@channels", default, nonzero)]
    pub channels: u32,
    /// Sample format.
    #[xml("@format")]
    pub format: Option<AudioFormat>,
}

/// Settings that are fixed are told even if there are none.
mod settings {
    use super::{AudioSettings, Element, Reader, Result, XmlElement};
    use virt_util::xml::Writer;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<AudioSettings> {
        AudioSettings::read(element, cx)
    }

    pub(super) fn write(value: &AudioSettings, w: &mut Writer, name: &'static str) {
        value.write(w, name);
    }
}

macro_rules! direction {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: [$($type:tt)+],)* }) => {
        $(#[$meta])*
        #[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            /// How the sound is mixed.
            #[xml(flatten)]
            pub mixing: AudioMixing,
            $($(#[$field_meta])* pub $field: $($type)+,)*
            /// Settings, if they are fixed.
            #[xml("settings", with = settings, described = AudioSettings, default = mixing.fixed_settings.filter(|fixed| *fixed).map(|_| AudioSettings::default()))]
            pub settings: Option<AudioSettings>,
        }
    };
}

direction!(
    /// A direction that has nothing of its own.
    PlainDirection {}
);
direction!(
    /// A direction of ALSA.
    DeviceDirection {
        /// The host's device.
        #[xml("@dev")] dev: [Option<String>],
    }
);
direction!(
    /// A direction of CoreAudio or SDL.
    BufferDirection {
        /// Number of buffers.
        #[xml("@bufferCount", default)] buffer_count: [u32],
    }
);
direction!(
    /// A direction of JACK.
    JackDirection {
        /// Which JACK server is used.
        #[xml("@serverName")] server_name: [Option<String>],
        /// Own name.
        #[xml("@clientName")] client_name: [Option<String>],
        /// Ports to connect to, as a regular expression.
        #[xml("@connectPorts")] connect_ports: [Option<String>],
        /// Whether the own name may not be changed.
        #[xml("@exactName")] exact_name: [Option<bool>],
    }
);
direction!(
    /// A direction of OSS.
    OssDirection {
        /// The host's device.
        #[xml("@dev")] dev: [Option<String>],
        /// Number of buffers.
        #[xml("@bufferCount", default)] buffer_count: [u32],
        /// Whether it is polled.
        #[xml("@tryPoll")] try_poll: [Option<bool>],
    }
);
direction!(
    /// A direction of PulseAudio or PipeWire.
    StreamDirection {
        /// Sink or source.
        #[xml("@name")] name: [Option<String>],
        /// What the sound server calls the stream.
        #[xml("@streamName")] stream_name: [Option<String>],
        /// Microseconds of latency.
        #[xml("@latency", default)] latency: [u32],
    }
);

/// The host's audio system, and what only that has.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(union = "@type")]
pub enum AudioBackend {
    /// Nothing is heard.
    None {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// From the guest's view: microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<PlainDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<PlainDirection>>,
    },
    /// ALSA.
    Alsa {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// Microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<DeviceDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<DeviceDirection>>,
    },
    /// CoreAudio of macOS.
    Coreaudio {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// Microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<BufferDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<BufferDirection>>,
    },
    /// JACK.
    Jack {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// Microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<JackDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<JackDirection>>,
    },
    /// OSS.
    Oss {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// Whether buffers are mapped.
        #[xml("@tryMMap")]
        try_mmap: Option<bool>,
        /// Whether the device is used alone.
        #[xml("@exclusive")]
        exclusive: Option<bool>,
        /// Timing policy of OSS 4.
        #[xml("@dspPolicy")]
        dsp_policy: Option<i32>,
        /// Microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<OssDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<OssDirection>>,
    },
    /// PulseAudio.
    Pulseaudio {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// Which PulseAudio server is used.
        #[xml("@serverName")]
        server_name: Option<String>,
        /// Microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<StreamDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<StreamDirection>>,
    },
    /// SDL.
    Sdl {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// What SDL plays through.
        #[xml("@driver")]
        driver: Option<SdlAudioDriver>,
        /// Microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<BufferDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<BufferDirection>>,
    },
    /// The client of the SPICE server.
    Spice {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// Microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<PlainDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<PlainDirection>>,
    },
    /// A WAV file.
    File {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// Absolute path of the file that sound is written to.
        #[xml("@path")]
        path: Option<String>,
        /// Microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<PlainDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<PlainDirection>>,
    },
    /// D-Bus.
    Dbus {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// Microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<PlainDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<PlainDirection>>,
    },
    /// PipeWire.
    Pipewire {
        /// Microseconds between polls.
        #[xml("@timerPeriod", default, nonzero)]
        timer_period: u32,
        /// Folder of its socket.
        #[xml("@runtimeDir")]
        runtime_dir: Option<String>,
        /// Microphone.
        #[xml("input", omit_empty)]
        input: Option<Box<StreamDirection>>,
        /// Loudspeaker.
        #[xml("output", omit_empty)]
        output: Option<Box<StreamDirection>>,
    },
}

impl Audio {
    /// A back end that plays nothing.
    pub fn none(id: u32) -> Self {
        Self {
            id,
            backend: AudioBackend::None {
                timer_period: 0,
                input: None,
                output: None,
            },
        }
    }

    /// The kind.
    pub fn audio_type(&self) -> AudioType {
        AudioType::from_word(self.backend.xml_tag()).unwrap_or_default()
    }
}
