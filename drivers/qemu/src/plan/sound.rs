//! Sound cards and where their sound goes.

use virt_conf::domain::sound::{
    Audio, AudioBackend, AudioMixing, AudioSettings, Sound, SoundCodecType, SoundModel,
};
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::Props;
use super::device::{VirtioVariant, alias};

/// What each direction of a backend can be told.
fn direction(mixing: &AudioMixing, settings: Option<&AudioSettings>) -> Props {
    let fixed = settings.filter(|_| mixing.fixed_settings == Some(true));
    Props::new()
        .maybe("mixing-engine", mixing.mixing_engine)
        .maybe("fixed-settings", mixing.fixed_settings)
        .positive("voices", mixing.voices)
        .positive("buffer-length", mixing.buffer_length)
        .positive("frequency", fixed.map_or(0, |fixed| fixed.frequency))
        .positive("channels", fixed.map_or(0, |fixed| fixed.channels))
        .maybe(
            "format",
            fixed.and_then(|fixed| fixed.format).map(|format| format.as_str()),
        )
}

/// Both directions, each with what is its own.
macro_rules! directions {
    ($input:expr, $output:expr, |$one:ident| $own:expr) => {{
        [
            $input
                .as_ref()
                .map(|$one| direction(&$one.mixing, $one.settings.as_ref()).and($own)),
            $output
                .as_ref()
                .map(|$one| direction(&$one.mixing, $one.settings.as_ref()).and($own)),
        ]
    }};
}

impl Builder<'_> {
    /// The name of a backend by the definition's number; nought is the first.
    pub(super) fn audio_id(&self, number: u32) -> Result<String> {
        let audios = &self.domain.devices.audios;
        let audio = match number {
            0 => audios.first(),
            number => audios.iter().find(|audio| audio.id == number),
        };
        audio
            .map(|audio| format!("audio{}", audio.id))
            .ok_or_else(|| VirtError::internal(format_args!("unable to find audio backend for id={number}")))
    }

    pub(super) fn audios(&mut self) -> Result<()> {
        let domain = self.domain;
        domain.devices.audios.iter().for_each(|audio| self.audio(audio));
        Ok(())
    }

    fn audio(&mut self, audio: &Audio) {
        use AudioBackend as B;
        let none = Props::new;
        let (driver, period, extra, sides) = match &audio.backend {
            B::None {
                timer_period,
                input,
                output,
            } => (
                "none",
                timer_period,
                none(),
                directions!(input, output, |_one| none()),
            ),
            B::Spice {
                timer_period,
                input,
                output,
            } => (
                "spice",
                timer_period,
                none(),
                directions!(input, output, |_one| none()),
            ),
            B::Dbus {
                timer_period,
                input,
                output,
            } => (
                "dbus",
                timer_period,
                none(),
                directions!(input, output, |_one| none()),
            ),
            B::File {
                timer_period,
                path,
                input,
                output,
            } => {
                let extra = none().maybe("path", path.clone());
                (
                    "wav",
                    timer_period,
                    extra,
                    directions!(input, output, |_one| none()),
                )
            }
            B::Alsa {
                timer_period,
                input,
                output,
            } => {
                let sides = directions!(input, output, |one| none().maybe("dev", one.dev.clone()));
                ("alsa", timer_period, none(), sides)
            }
            B::Coreaudio {
                timer_period,
                input,
                output,
            } => {
                let sides = directions!(input, output, |one| none()
                    .positive("buffer-count", one.buffer_count));
                ("coreaudio", timer_period, none(), sides)
            }
            B::Sdl {
                timer_period,
                driver,
                input,
                output,
            } => {
                if let Some(driver) = driver {
                    self.command.set_environment("SDL_AUDIODRIVER", driver.as_str());
                }
                let sides = directions!(input, output, |one| none()
                    .positive("buffer-count", one.buffer_count));
                ("sdl", timer_period, none(), sides)
            }
            B::Jack {
                timer_period,
                input,
                output,
            } => {
                let sides = directions!(input, output, |one| {
                    none()
                        .maybe("server-name", one.server_name.clone())
                        .maybe("client-name", one.client_name.clone())
                        .maybe("connect-ports", one.connect_ports.clone())
                        .maybe("exact-name", one.exact_name)
                });
                ("jack", timer_period, none(), sides)
            }
            B::Oss {
                timer_period,
                try_mmap,
                exclusive,
                dsp_policy,
                input,
                output,
            } => {
                let extra = none()
                    .maybe("try-mmap", *try_mmap)
                    .maybe("exclusive", *exclusive)
                    .maybe("dsp-policy", *dsp_policy);
                let sides = directions!(input, output, |one| {
                    none()
                        .maybe("dev", one.dev.clone())
                        .positive("buffer-count", one.buffer_count)
                        .maybe("try-poll", one.try_poll)
                });
                ("oss", timer_period, extra, sides)
            }
            B::Pulseaudio {
                timer_period,
                server_name,
                input,
                output,
            } => {
                let extra = none().maybe("server", server_name.clone());
                let sides = directions!(input, output, |one| {
                    none()
                        .maybe("name", one.name.clone())
                        .maybe("stream-name", one.stream_name.clone())
                        .positive("latency", one.latency)
                });
                ("pa", timer_period, extra, sides)
            }
            B::Pipewire {
                timer_period,
                runtime_dir,
                input,
                output,
            } => {
                self.pipewire_environment(runtime_dir.as_deref());
                let sides = directions!(input, output, |one| {
                    none()
                        .maybe("name", one.name.clone())
                        .maybe("stream-name", one.stream_name.clone())
                        .positive("latency", one.latency)
                });
                ("pipewire", timer_period, none(), sides)
            }
        };
        let mut props = Props::new()
            .with("id", format!("audio{}", audio.id))
            .with("driver", driver)
            .positive("timer-period", *period)
            .and(extra);
        for (key, side) in ["in", "out"].into_iter().zip(sides) {
            if let Some(side) = side.filter(|side| !side.is_empty()) {
                props = props.with(key, side.into_value());
            }
        }
        self.command.option("-audiodev", props.to_json());
    }

    fn pipewire_environment(&mut self, runtime_dir: Option<&str>) {
        let known = |name: &str| {
            let host = &self.host.daemon_environment;
            host.iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        };
        let mut wanted: Vec<(&str, String)> = Vec::new();
        for name in ["PIPEWIRE_CORE", "PIPEWIRE_REMOTE"] {
            wanted.extend(known(name).map(|value| (name, value)));
        }
        match runtime_dir {
            Some(directory) => wanted.push(("PIPEWIRE_RUNTIME_DIR", directory.to_owned())),
            None => {
                let names = ["PIPEWIRE_RUNTIME_DIR", "XDG_RUNTIME_DIR", "USERPROFILE"];
                wanted.extend(names.iter().find_map(|name| Some((*name, known(name)?))));
            }
        }
        for (name, value) in wanted {
            self.command.set_environment(name, value);
        }
    }

    pub(super) fn sounds(&mut self) -> Result<()> {
        let domain = self.domain;
        for sound in domain
            .devices
            .sounds
            .iter()
            .filter(|sound| sound.model != SoundModel::Pcspk)
        {
            self.zpci(&sound.info)?;
            let device = self.sound(sound)?;
            self.device(device)?;
            if !has_codecs(sound.model) {
                continue;
            }
            let mut codecs: Vec<SoundCodecType> = sound.codecs.iter().map(|codec| codec.kind).collect();
            if codecs.is_empty() {
                codecs.push(SoundCodecType::Duplex);
            }
            let name = alias(&sound.info)?;
            for (place, kind) in codecs.into_iter().enumerate() {
                let driver = match kind {
                    SoundCodecType::Duplex => "hda-duplex",
                    SoundCodecType::Micro => "hda-micro",
                    SoundCodecType::Output => "hda-output",
                };
                let props = Props::device(driver)
                    .with("id", format!("{name}-codec{place}"))
                    .with("bus", format!("{name}.0"))
                    .with("cad", place)
                    .with("audiodev", self.audio_id(sound.audio)?);
                self.device(props)?;
            }
        }
        Ok(())
    }

    fn sound(&self, sound: &Sound) -> Result<Props> {
        let (mut channels, mut streams) = (None, 0);
        let props = match sound.model {
            SoundModel::Es1370 => Props::device("ES1370"),
            SoundModel::Ac97 => Props::device("AC97"),
            SoundModel::Ich6 => Props::device("intel-hda"),
            SoundModel::Ich9 => Props::device("ich9-intel-hda"),
            SoundModel::Sb16 => Props::device("sb16"),
            SoundModel::Usb => {
                channels = sound.multichannel;
                Props::device("usb-audio")
            }
            SoundModel::Virtio => {
                streams = sound.streams;
                self.virtio(
                    "virtio-sound",
                    &sound.info,
                    VirtioVariant::Plain,
                    Some(&sound.virtio),
                )?
            }
            model @ (SoundModel::Pcspk | SoundModel::Ich7) => {
                let what = format!("QEMU has no sound model '{model}'");
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
        };
        let audio = if has_codecs(sound.model) {
            None
        } else {
            Some(self.audio_id(sound.audio)?)
        };
        Ok(props
            .with("id", alias(&sound.info)?)
            .maybe("audiodev", audio)
            .maybe("multi", channels)
            .positive("streams", streams)
            .and(self.address(&sound.info, None)?))
    }
}

fn has_codecs(model: SoundModel) -> bool {
    matches!(model, SoundModel::Ich6 | SoundModel::Ich9)
}
