#!/bin/sh
# model.sh RAIN LEVELS: a bucket that loses a tenth of its water each hour.
awk '{ water = water * 0.9 + $2 / 10; print $1, water }' "$1" > "$2"
