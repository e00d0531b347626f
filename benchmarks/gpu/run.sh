#!/usr/bin/env bash
# All that there is to measure on a GPU in one command, in 8 minutes and without any network.
#
#   bash benchmarks/gpu/run.sh                          # see run.py for the options
#   bash benchmarks/gpu/run.sh --device cpu --tiny      # everything in miniature
exec bash "$(dirname "${BASH_SOURCE[0]}")/with_wheels.sh" run.py "$@"
