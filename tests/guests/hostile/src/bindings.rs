//! WASI itself, for what `std` would not even try.

#![allow(clippy::all, unused, unsafe_op_in_unsafe_fn, rust_2018_idioms)]

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package guest:hostile;
        world direct {
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:filesystem/types@0.2.12;
            import wasi:filesystem/preopens@0.2.12;
            import wasi:http/outgoing-handler@0.2.12;
            import wasi:io/poll@0.2.12;
            import wasi:random/random@0.2.12;
            import wasi:sockets/instance-network@0.2.12;
            import wasi:sockets/ip-name-lookup@0.2.12;
        }
    ",
    world: "guest:hostile/direct",
    generate_all,
});
