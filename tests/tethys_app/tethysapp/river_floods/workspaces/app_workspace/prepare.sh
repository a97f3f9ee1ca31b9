# The rain that the soil does not take.
awk '{ print $1, ($2 > 2 ? $2 - 2 : 0) }' rain.txt > catchment.txt
