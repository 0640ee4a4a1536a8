#!/bin/sh
# Serve a page with the pod's name on $POD_IP:8080 until told to stop.
#
# The server is a child, because a first process of a PID namespace that handles no
# SIGTERM cannot be stopped by one; the shell hands the signal on.
set -eu
mkdir -p www
echo "Hello from ${POD_NAME:-unknown}, version ${HELLO_VERSION:-0}" > www/index.html
busybox httpd -f -p "${POD_IP:-0.0.0.0}:8080" -h www &
server=$!
# Connections still come for a moment: not everybody knows yet that this pod is going.
trap 'sleep 1; kill "$server"; exit 0' TERM INT
echo "serving on ${POD_IP:-0.0.0.0}:8080"
wait "$server"
