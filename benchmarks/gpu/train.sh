#!/usr/bin/env bash
# Trains the embedded vision-language model on a GPU for 8 minutes; started again, it goes on.
#
#   bash benchmarks/gpu/train.sh                        # see train.py for the options
#   bash benchmarks/gpu/train.sh --device cpu --tiny    # to see that it works
exec bash "$(dirname "${BASH_SOURCE[0]}")/with_wheels.sh" train.py "$@"
