package energy

// entry rates what match (a regular expression, any case) is found in.
type entry struct {
	match     string
	idle, max float64 // W
	threads   int     // CPUs of the whole package
}

// boards are rated as a whole, from the supply: the maker's figures (Raspberry
// Pi documentation, "Typical power requirements"; NVIDIA Jetson power modes)
// and published measurements at idle and with all cores loaded.
var boards = []entry{
	{match: `raspberry pi (5|500|compute module 5)`, idle: 2.7, max: 8},
	{match: `raspberry pi (4|400|compute module 4)`, idle: 2.7, max: 6.4},
	{match: `raspberry pi 3 model b plus`, idle: 1.9, max: 5.1},
	{match: `raspberry pi (3|compute module 3)`, idle: 1.4, max: 3.7},
	{match: `raspberry pi zero 2`, idle: 0.6, max: 2.2},
	{match: `raspberry pi zero`, idle: 0.4, max: 1.2},
	{match: `raspberry pi 2`, idle: 1.1, max: 2.1},
	{match: `jetson agx thor`, idle: 20, max: 120},
	{match: `jetson agx orin`, idle: 9, max: 50},
	{match: `jetson orin nx`, idle: 5, max: 25},
	{match: `jetson orin nano`, idle: 4, max: 15},
	{match: `jetson agx xavier`, idle: 8, max: 30},
	{match: `jetson xavier nx`, idle: 4, max: 15},
	{match: `jetson[ -]tx2`, idle: 3, max: 15},
	{match: `jetson nano`, idle: 1.5, max: 10},
	{match: `rock 5|rk3588|orange pi 5|nanopc-t6`, idle: 2, max: 10},
	{match: `rk3399|rockpro64|rock pi 4`, idle: 2, max: 7},
	{match: `odroid[ -]?n2`, idle: 1.8, max: 5.5},
	{match: `odroid[ -]?xu4`, idle: 2, max: 12},
	{match: `visionfive 2`, idle: 3, max: 6},
	{match: `beaglebone`, idle: 1, max: 2.3},
	{match: `i\.mx ?8m`, idle: 1.5, max: 5},
}

// processors are rated by class: max is the rated power (TDP; Intel ARK and
// AMD's specifications), threads a typical size of the class, and idle what
// packages of it are seen to draw when quiet: a tenth of it in client parts, a
// quarter in servers, whose I/O never sleeps. The first match counts.
var processors = []entry{
	{`\bN(100|150|200|50)\b`, 1, 6, 4},
	{`\bN97\b`, 1, 12, 4},
	{`\bN(95|250)\b`, 1, 15, 4},
	{`\bN3[05]\d\b`, 1.5, 15, 8},
	{`atom.* [cp][35]\d{3}`, 5, 32, 16},
	{`atom.* x[3567]|atom`, 1, 10, 4},
	{`(celeron|pentium).* [jn]\d{4}`, 1.5, 10, 4},
	{`celeron|pentium`, 4, 50, 4},
	{`ultra \d+ \d{3}(h|hx)\b`, 4, 45, 16},
	{`ultra \d+ \d{3}(u|v)\b`, 2, 17, 12},
	{`ultra \d+ \d{3}k`, 12, 125, 24},
	{`ultra \d+ \d{3}`, 8, 65, 20},
	{`\bi[3579]-\d{4,5}(h|hx|hk|hq|he|mq|hf)\b`, 4, 45, 16},
	{`\bi[3579]-\d{4}g[147]\b|\bi[3579]-\d{4,5}p\b`, 2.5, 28, 12},
	{`\bi[3579]-\d{4,5}(u|ue|y)\b`, 2, 15, 8},
	{`\bi[3579]-\d{4,5}(t|te|s)\b`, 4, 35, 12},
	{`\bi[3579]-\d{4,5}(k|kf|ks|x|xe)\b`, 10, 125, 20},
	{`\bi[3579]-`, 7, 65, 12},
	{`xeon.* d-\d`, 15, 65, 24},
	{`xeon.* (e-\d|e3-)`, 8, 80, 8},
	{`xeon.* w-?\d`, 30, 225, 40},
	{`xeon.* e[57]-`, 30, 130, 24},
	{`xeon.* (platinum|max)|xeon.* 6\d{3}p`, 70, 270, 96},
	{`xeon.* gold`, 45, 165, 48},
	{`xeon.* silver`, 30, 110, 32},
	{`xeon.* bronze`, 25, 85, 12},
	{`xeon`, 40, 150, 32},
	{`epyc.* 9\d\d[0-9a-z]`, 95, 360, 192},
	{`epyc.* 8\d\d[0-9a-z]`, 50, 200, 128},
	{`epyc.* 4\d\d[0-9a-z]`, 20, 105, 32},
	{`epyc.* 3\d\d[0-9a-z]`, 15, 55, 16},
	{`epyc.* 7\d\d[0-9a-z]`, 65, 225, 128},
	{`epyc`, 70, 280, 128},
	{`threadripper`, 60, 280, 64},
	{`ryzen.* (v[123]|r[12])\d{3}`, 3, 25, 8},
	{`ryzen.* \d{3,4}(h|hs|hx)\b`, 4, 45, 16},
	{`ryzen.* \d{3,4}u\b|ryzen ai`, 2.5, 22, 16},
	{`ryzen.* \d{4}(ge|e)\b`, 6, 35, 12},
	{`ryzen.* \d{4}g\b`, 8, 65, 12},
	{`ryzen.* \d{4}(x|x3d|xt)\b`, 22, 120, 24},
	{`ryzen`, 15, 65, 16},
}
