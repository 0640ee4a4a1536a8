# Both programs, run by an ordinary user.
#
#     docker build -t raftkv .
#     docker run --rm -p 127.0.0.1:2379:2379 raftkv
#
# BASE may be any Debian 12 (or Ubuntu 24.04) image with Python 3.11 or later.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
        gcc libc6-dev python3-dev python3-venv libnghttp2-dev liblmdb-dev
RUN python3 -m venv /opt/raftkv && /opt/raftkv/bin/pip install -q -U pip
WORKDIR /source
# What is installed changes more seldom than the sources: a layer of its own.
COPY pyproject.toml /source/
COPY tools/requirements.py /source/tools/
RUN python3 tools/requirements.py --runtime > /tmp/requirements.txt \
 && /opt/raftkv/bin/pip install -q -r /tmp/requirements.txt
COPY . /source
RUN LDFLAGS=-s /opt/raftkv/bin/pip install -q --no-deps . \
 && /opt/raftkv/bin/pip uninstall -q -y pip setuptools

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends libnghttp2-14 liblmdb0 \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --home-dir /var/lib/raftkv raftkv \
 && install -d -o raftkv -g raftkv -m 0700 /var/lib/raftkv
COPY --from=build /opt/raftkv /opt/raftkv
COPY tools/raftkv-ready /usr/local/bin/
# Under etcd's names the programs take etcd's place in scripts and pod manifests.
RUN ln -s /opt/raftkv/bin/raftkv /usr/local/bin/etcd \
 && ln -s /opt/raftkv/bin/raftctl /usr/local/bin/etcdctl
ENV PATH=/opt/raftkv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    RAFTKV_DATA_DIR=/var/lib/raftkv/data \
    RAFTKV_LISTEN_CLIENT_URLS=http://0.0.0.0:2379 \
    RAFTKV_ADVERTISE_CLIENT_URLS=http://localhost:2379
USER raftkv
WORKDIR /var/lib/raftkv
VOLUME /var/lib/raftkv
EXPOSE 2379 2380
HEALTHCHECK --interval=2s --timeout=5s --start-period=30s --retries=3 CMD ["raftkv-ready"]
CMD ["raftkv"]
