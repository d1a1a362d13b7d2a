FROM python:3.11-slim

# An extra package index to take torch's build from (a CPU or a CUDA one); empty: pip's own.
ARG TORCH_INDEX=""

RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /snnrl
COPY . .
RUN make setup TORCH_INDEX="$TORCH_INDEX"

# docker run -v "$PWD/results:/snnrl/results" snnrl make train ARGS="algo=td3 bn=carebn"
CMD ["make", "train"]
