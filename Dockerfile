# One image for every program; the first stage compiles, the second carries the programs alone.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends libclang-dev libssl-dev pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p lockstep-capture -p lockstep-apply -p lockstep-cli \
 && mkdir /out \
 && cp target/release/lockstep target/release/lockstep-capture target/release/lockstep-apply /out/

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --home-dir /var/lib/lockstep --create-home lockstep
COPY --from=build /out/ /usr/local/bin/
USER lockstep
VOLUME /var/lib/lockstep
CMD ["lockstep", "--help"]
