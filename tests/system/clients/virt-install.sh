#!/bin/sh
# A session with the programs of virt-install on the test hypervisor: what it prints is the same with every daemon.
# virt-install.sh URI, while somebody keeps the hypervisor open: it forgets all when its last connection ends.
set -eu
uri=$1
# What is made up by chance stands in neither.
plain() { sed -e '/<uuid>/d' -e '/<mac address/d'; }
new() {
    virt-install --connect "$uri" --memory 64 --vcpus 2 --install no_install=yes --graphics vnc \
        --osinfo detect=off,require=off --noautoconsole "$@" 2>&1 | grep -v '%\|00:0'
}
show() { virsh -c "$uri" dumpxml --inactive "$1" | plain; }

new --name plain --disk none --network none
new --name furnished --disk pool=default-pool,size=0.125,format=qcow2 --network network=default --sound ich9 --rng /dev/urandom \
    --channel unix,target.type=virtio,target.name=org.example.0 --cpu host-model --boot menu=on --noreboot
virsh -c "$uri" list --all --name
show furnished
virt-xml --connect "$uri" furnished --add-device --disk pool=default-pool,size=0.0625 --no-define --print-diff
virt-xml --connect "$uri" furnished --edit --memory 96 --define
virt-xml --connect "$uri" furnished --remove-device --sound all --define
show furnished
virt-clone --connect "$uri" --original furnished --name copy --auto-clone 2>&1 | grep -v '%\|00:0'
show copy
virsh -c "$uri" vol-list default-pool
virsh -c "$uri" vol-dumpxml --pool default-pool copy.qcow2 2>&1 || true
virt-install --connect "$uri" --name plain --memory 64 --disk none --install no_install=yes \
    --osinfo detect=off,require=off --noautoconsole 2>&1 || true
