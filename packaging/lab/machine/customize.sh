# Runs in the root of a new image: nothing of ours but a unit that starts the
# lab's program from the disk labelled "lab".
set -eu
cat >/etc/systemd/system/lab.service <<END
[Unit]
Description=Lab
DefaultDependencies=no
After=systemd-remount-fs.service systemd-udevd.service
[Service]
ExecStartPre=/bin/sh -c "mkdir -p /run/lab && mount -o ro LABEL=lab /run/lab && ln -sfn /run/lab /lab"
ExecStart=/run/lab/inside serve
KillMode=process
Restart=always
TimeoutStartSec=300
[Install]
WantedBy=sysinit.target
END
systemctl enable --quiet lab.service
systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer fstrim.timer \
	e2scrub_all.timer e2scrub_reap.service dpkg-db-backup.timer systemd-logind.service \
	getty@tty1.service serial-getty@ttyS0.service serial-getty@ttyAMA0.service
rm -f /etc/resolv.conf
echo device >/etc/hostname
rm -rf /var/lib/apt/lists/* /usr/share/locale /usr/share/doc/* /debs /configure.sh /customize.sh
