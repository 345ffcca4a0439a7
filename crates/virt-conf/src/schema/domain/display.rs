//! What the guest shows and plays.

use virt_util::words;
use virt_util::xml::rules::{Form, Must, PRESENT, Rule};
use virt_util::xml::shapes::{Part, Shape, any, maybe, one, shape};

use super::super::common::rule;
use super::device::{INFO, VIRTIO, VIRTIO_DRIVER};
use crate::forms;

const PASSWORD: &[Part] = &[
    maybe("@passwd"),
    maybe("@keymap"),
    maybe("@passwdValidTo").is(forms::DATE_TIME),
];
const PORT: &[Part] = &[
    maybe("@port").is(forms::PORT),
    maybe("@autoport").is(forms::YES_NO),
    maybe("@listen").is(forms::HOST),
];
const LISTENS: &[Part] = &[any("listen")];
const WINDOW: &[Part] = &[maybe("@display"), maybe("@fullscreen").is(forms::YES_NO)];
const SECURITY: Form = words!("any", "secure", "insecure");

pub(in super::super) const SHAPES: &[Shape] = &[
    shape("graphics", &[WINDOW, &[maybe("@xauth"), maybe("gl")]]).when(&[("@type", &["sdl"])]),
    shape(
        "graphics",
        &[
            PORT,
            PASSWORD,
            LISTENS,
            &[
                maybe("@websocket").is(forms::PORT),
                maybe("@sharePolicy").is(words!("allow-exclusive", "force-shared", "ignore")),
                maybe("@powerControl").is(forms::YES_NO),
                maybe("@socket").is(forms::ABSOLUTE_PATH),
                maybe("@connected").is(words!("keep")),
                maybe("audio"),
            ],
        ],
    )
    .when(&[("@type", &["vnc"])]),
    shape(
        "graphics",
        &[
            PORT,
            PASSWORD,
            LISTENS,
            &[
                maybe("@tlsPort").is(forms::PORT),
                maybe("@connected").is(words!("fail", "disconnect", "keep")),
                maybe("@defaultMode").is(SECURITY),
                any("channel"),
                maybe("image"),
                maybe("jpeg"),
                maybe("zlib"),
                maybe("playback"),
                maybe("streaming"),
                maybe("clipboard"),
                maybe("mouse"),
                maybe("filetransfer"),
                maybe("gl"),
            ],
        ],
    )
    .when(&[("@type", &["spice"])]),
    shape(
        "graphics",
        &[&[
            maybe("@address").is(forms::FILE_PATH),
            maybe("@p2p").is(forms::YES_NO),
            maybe("gl"),
            maybe("audio"),
        ]],
    )
    .when(&[("@type", &["dbus"])]),
    shape(
        "graphics",
        &[
            PORT,
            LISTENS,
            &[
                maybe("@replaceUser").is(forms::YES_NO),
                maybe("@multiUser").is(forms::YES_NO),
                maybe("@username"),
                maybe("@passwd"),
            ],
        ],
    )
    .when(&[("@type", &["rdp"])]),
    shape("graphics", &[WINDOW]).when(&[("@type", &["desktop"])]),
    shape("graphics", &[&[maybe("gl")]]).when(&[("@type", &["egl-headless"])]),
    shape("graphics/gl", &[&[one("@enable").is(forms::YES_NO)]]).when(&[("../@type", &["sdl"])]),
    shape(
        "graphics/gl",
        &[&[
            one("@enable").is(forms::YES_NO),
            maybe("@rendernode").is(forms::ABSOLUTE_PATH),
        ]],
    )
    .when(&[("../@type", &["spice", "dbus"])]),
    shape("graphics/gl", &[&[maybe("@rendernode").is(forms::ABSOLUTE_PATH)]])
        .when(&[("../@type", &["egl-headless"])]),
    shape(
        "graphics/channel",
        &[&[
            one("@name").is(words!(
                "main",
                "display",
                "inputs",
                "cursor",
                "playback",
                "record",
                "smartcard",
                "usbredir"
            )),
            one("@mode").is(SECURITY),
        ]],
    ),
    shape(
        "graphics/image",
        &[&[one("@compression").is(words!("auto_glz", "auto_lz", "quic", "glz", "lz", "off"))]],
    ),
    shape("graphics/jpeg", &[COMPRESSION]),
    shape("graphics/zlib", &[COMPRESSION]),
    shape("graphics/playback", &[&[one("@compression").is(forms::ON_OFF)]]),
    shape(
        "graphics/streaming",
        &[&[one("@mode").is(words!("filter", "all", "off"))]],
    ),
    shape("graphics/filetransfer", &[&[one("@enable").is(forms::YES_NO)]]),
    shape("graphics/listen", &[&[maybe("@address").is(forms::HOST)]]).when(&[("@type", &["address"])]),
    shape(
        "graphics/listen",
        &[&[one("@network"), maybe("@address").is(forms::HOST)]],
    )
    .when(&[("@type", &["network"])]),
    shape("graphics/listen", &[&[maybe("@socket").is(forms::ABSOLUTE_PATH)]]).when(&[("@type", &["socket"])]),
    shape("graphics/listen", &[]).when(&[("@type", &["none"])]),
    shape("video", &[INFO, &[maybe("driver"), maybe("model")]]),
    shape(
        "video/driver",
        &[
            VIRTIO,
            &[
                maybe("@name").is(words!("qemu", "vhostuser")),
                maybe("@vgaconf").is(words!("io", "on", "off")),
            ],
        ],
    ),
    shape("video/model", &[VIDEO]).when(&[(
        "@type",
        &[
            "vga", "cirrus", "vmvga", "xen", "vbox", "virtio", "gop", "none", "bochs", "ramfb",
        ],
    )]),
    shape(
        "video/model",
        &[
            VIDEO,
            &[
                maybe("@ram").is(forms::UNSIGNED_INT),
                maybe("@vgamem").is(forms::UNSIGNED_INT),
                maybe("@vram64").is(forms::UNSIGNED_INT),
            ],
        ],
    )
    .when(&[("@type", &["qxl"])]),
    shape(
        "model/acceleration",
        &[&[
            maybe("@accel3d").is(forms::YES_NO),
            maybe("@accel2d").is(forms::YES_NO),
            maybe("@rendernode").is(forms::ABSOLUTE_PATH),
        ]],
    ),
    shape(
        "model/resolution",
        &[&[
            one("@x").is(forms::UNSIGNED_INT),
            one("@y").is(forms::UNSIGNED_INT),
        ]],
    ),
];

const COMPRESSION: &[Part] = &[one("@compression").is(words!("auto", "never", "always"))];
const VIDEO: &[Part] = &[
    maybe("@vram").is(forms::UNSIGNED_INT),
    maybe("@heads").is(forms::UNSIGNED_INT),
    maybe("@primary").is(forms::YES_NO),
    maybe("@blob").is(forms::ON_OFF),
    maybe("acceleration"),
    maybe("resolution"),
];

/// Sound of the guest, and where the host plays it.
pub(in super::super) const AUDIO: &[Shape] = &[
    shape(
        "sound",
        &[
            INFO,
            VIRTIO_DRIVER,
            &[
                one("@model").is(words!(
                    "sb16", "es1370", "pcspk", "ac97", "ich6", "ich7", "ich9", "usb", "virtio"
                )),
                maybe("@multichannel").is(forms::YES_NO),
                maybe("@streams").is(forms::UINT32),
                maybe("audio"),
                any("codec"),
            ],
        ],
    ),
    shape(
        "codec",
        &[&[one("@type").is(words!("duplex", "micro", "output"))]],
    ),
    shape("sound/audio", &[&[one("@id").is(forms::UINT8)]]),
    shape("graphics/audio", &[&[one("@id").is(forms::UINT8)]]),
    shape("devices/audio", &[BACKEND])
        .when(&[("@type", &["none", "dbus", "alsa", "coreaudio", "jack", "spice"])]),
    shape(
        "devices/audio",
        &[
            BACKEND,
            &[
                maybe("@tryMMap").is(forms::YES_NO),
                maybe("@exclusive").is(forms::YES_NO),
                maybe("@dspPolicy").is(forms::INT),
            ],
        ],
    )
    .when(&[("@type", &["oss"])]),
    shape(
        "devices/audio",
        &[BACKEND, &[maybe("@runtimeDir").is(forms::FILE_PATH)]],
    )
    .when(&[("@type", &["pipewire"])]),
    shape("devices/audio", &[BACKEND, &[maybe("@serverName")]]).when(&[("@type", &["pulseaudio"])]),
    shape(
        "devices/audio",
        &[
            BACKEND,
            &[maybe("@driver").is(words!("esd", "alsa", "arts", "pulseaudio"))],
        ],
    )
    .when(&[("@type", &["sdl"])]),
    shape(
        "devices/audio",
        &[BACKEND, &[maybe("@path").is(forms::FILE_PATH)]],
    )
    .when(&[("@type", &["file"])]),
    shape("audio/input", &[STREAM]).when(&[("../@type", PLAIN)]),
    shape("audio/output", &[STREAM]).when(&[("../@type", PLAIN)]),
    shape("audio/input", &[STREAM, ALSA]).when(&[("../@type", &["alsa"])]),
    shape("audio/output", &[STREAM, ALSA]).when(&[("../@type", &["alsa"])]),
    shape("audio/input", &[STREAM, BUFFERS]).when(&[("../@type", &["coreaudio", "sdl"])]),
    shape("audio/output", &[STREAM, BUFFERS]).when(&[("../@type", &["coreaudio", "sdl"])]),
    shape("audio/input", &[STREAM, JACK]).when(&[("../@type", &["jack"])]),
    shape("audio/output", &[STREAM, JACK]).when(&[("../@type", &["jack"])]),
    shape("audio/input", &[STREAM, BUFFERS, OSS]).when(&[("../@type", &["oss"])]),
    shape("audio/output", &[STREAM, BUFFERS, OSS]).when(&[("../@type", &["oss"])]),
    shape("audio/input", &[STREAM, SERVER]).when(&[("../@type", &["pipewire", "pulseaudio"])]),
    shape("audio/output", &[STREAM, SERVER]).when(&[("../@type", &["pipewire", "pulseaudio"])]),
    shape(
        "settings",
        &[&[
            maybe("@frequency").is(forms::UINT32),
            maybe("@channels").is(forms::UINT32),
            maybe("@format").is(words!("s8", "u8", "s16", "u16", "s32", "u32", "f32")),
        ]],
    ),
];

const BACKEND: &[Part] = &[
    one("@id").is(forms::UINT8),
    maybe("@timerPeriod").is(forms::UINT32),
    maybe("input"),
    maybe("output"),
];
const PLAIN: &[&str] = &["none", "dbus", "spice", "file"];
const STREAM: &[Part] = &[
    maybe("@mixingEngine").is(forms::YES_NO),
    maybe("@fixedSettings").is(forms::YES_NO),
    maybe("@voices").is(forms::UINT32),
    maybe("@bufferLength").is(forms::UINT32),
    maybe("settings"),
];
const ALSA: &[Part] = &[maybe("@dev").is(forms::FILE_PATH)];
const BUFFERS: &[Part] = &[maybe("@bufferCount").is(forms::UINT32)];
const JACK: &[Part] = &[
    maybe("@serverName"),
    maybe("@clientName"),
    maybe("@connectPorts"),
    maybe("@exactName").is(forms::YES_NO),
];
const OSS: &[Part] = &[
    maybe("@dev").is(forms::DEVICE_NAME),
    maybe("@tryPoll").is(forms::YES_NO),
];
const SERVER: &[Part] = &[
    maybe("@name"),
    maybe("@streamName"),
    maybe("@latency").is(forms::UINT32),
];

pub(in super::super) const RULES: &[Rule] = &[
    rule(
        "graphics",
        &[("@type", &["vnc"]), ("@socket", PRESENT)],
        Must::NotHave(&[
            "@port",
            "@autoport",
            "@websocket",
            "@listen",
            "@sharePolicy",
            "@powerControl",
        ]),
    ),
    rule(
        "graphics",
        &[("@type", &["dbus"])],
        Must::NotBoth(&["@address", "@p2p"]),
    ),
    rule(
        "smartcard",
        &[("@mode", &["host-certificates"])],
        Must::Times("certificate", 3),
    ),
];
