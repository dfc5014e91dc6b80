// uno.js is an Uno in a simulator with a Notecard on its UART.
//
// Copyright (c) 2026 the notepay authors
// SPDX-License-Identifier: MIT
const fs = require('fs');
const avr = require('avr8js');

const HZ = 16e6, THINK_MS = 20;

function program(file) {
	const flash = new Uint8Array(32768).fill(0xff);
	for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
		if (line.slice(7, 9) !== '00') continue;
		const at = parseInt(line.slice(3, 7), 16);
		for (let i = 0; i < parseInt(line.slice(1, 3), 16); i++)
			flash[at + i] = parseInt(line.slice(9 + 2 * i, 11 + 2 * i), 16);
	}
	return new Uint16Array(flash.buffer);
}

function crc32(text) {
	let crc = ~0;
	for (const byte of Buffer.from(text)) {
		crc ^= byte;
		for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
	}
	return (~crc >>> 0).toString(16).toUpperCase().padStart(8, '0');
}

// Notecard answers lines of JSON. It survives the host's power cuts.
class Notecard {
	constructor() {
		this.queue = [];
		this.answers = [];
		this.lines = [];
		this.mute = false;
		this.fired = false; // ATTN is HIGH until it is armed
		this.seconds = 1790000000;
	}

	note(body) {
		const session_id = 'cs_test_' + 'a1B2c3D4e5F6g7H8i9J0'.repeat(3).slice(0, 58);
		this.queue.push({body: {timestamp: 1640995200, session_id, ...body}, time: 1640995210});
		this.fired = true;
	}

	// reply returns the reply to a line, or undefined.
	reply(line, seconds) {
		if (this.mute) return undefined;
		if (line.trim() === '') return '\r\n';
		const sum = line.match(/,"crc":"([0-9A-F]{4}):([0-9A-F]{8})"\}$/);
		if (!sum) throw new Error('a line without a sum: ' + line);
		const request = JSON.parse(line), bare = line.slice(0, -23) + '}';
		if (crc32(bare) !== sum[2]) throw new Error('a line with a wrong sum: ' + line);
		this.lines.push(request);
		const text = JSON.stringify(this.handle(request, seconds));
		return text.slice(0, -1) + (text.length > 2 ? ',' : ' ') + `"crc":"${sum[1]}:${crc32(text)}"}\r\n`;
	}

	handle(request, seconds) {
		switch (request.req) {
		case 'note.get': {
			if (this.queue.length === 0) return {err: 'no notes available in queue {note-noexist}'};
			return request.delete ? this.queue.shift() : this.queue[0];
		}
		case 'note.add':
			this.answers.push([request.body.credit_id, request.body.state, request.body.code].join(' ').trim());
			return {total: 1};
		case 'card.time':
			return {time: this.seconds + Math.floor(seconds), zone: 'CET,Europe/Berlin'};
		case 'card.attn':
			this.fired = false;
			return {};
		case 'hub.set':
			return {};
		default:
			return {err: 'unknown request'};
		}
	}
}

// Uno runs a sketch. pins tells of changes of the output pin; eeprom survives power cuts.
class Uno {
	constructor(hex, notecard, output) {
		Object.assign(this, {words: program(hex), notecard, output, before: 0, edges: []});
		this.eeprom = new avr.EEPROMMemoryBackend(1024);
		this.powerOn();
	}

	// ms is true time since the first boot.
	get ms() { return this.before + this.cpu.cycles / HZ * 1000; }

	powerOn() {
		this.cpu = new avr.CPU(this.words);
		for (let i = 0x100; i < this.cpu.data.length; i++) this.cpu.data[i] = Math.random() * 256;
		for (const config of [avr.timer0Config, avr.timer1Config, avr.timer2Config]) new avr.AVRTimer(this.cpu, config);
		const clock = new avr.AVRClock(this.cpu, HZ);
		new avr.AVRWatchdog(this.cpu, avr.watchdogConfig, clock);
		new avr.AVREEPROM(this.cpu, this.eeprom);
		this.ports = {d: new avr.AVRIOPort(this.cpu, avr.portDConfig), b: new avr.AVRIOPort(this.cpu, avr.portBConfig)};
		this.usart = new avr.AVRUSART(this.cpu, avr.usart0Config, HZ);
		this.high = false;
		this.ports.d.addListener(() => this.look());
		this.ports.d.setPin(4, this.pin4 || false);
		this.received = '';
		this.sending = [];
		this.usart.onByteTransmit = byte => this.receive(String.fromCharCode(byte));
	}

	look() {
		const state = this.ports.d.pinState(this.output);
		const high = state === avr.PinState.High || state === avr.PinState.InputPullUp;
		if (high !== this.high) this.edges.push({high, ms: this.ms});
		this.high = high;
	}

	receive(c) {
		this.received += c;
		if (c !== '\n') return;
		const line = this.received.slice(0, -1);
		this.received = '';
		const reply = this.notecard.reply(line, this.ms / 1000);
		if (reply === undefined) return;
		const cpu = this.cpu;
		cpu.addClockEvent(() => { this.sending.push(...Buffer.from(reply)); this.send(); }, THINK_MS * HZ / 1000);
		this.usart.onRxComplete = () => cpu.addClockEvent(() => this.send(), 1);
	}

	send() {
		if (this.sending.length && this.usart.writeByte(this.sending[0])) this.sending.shift();
	}

	// run runs for so many ms, or until done says so.
	run(ms, done) {
		const {cpu, ports, notecard} = this, until = cpu.cycles + ms * HZ / 1000;
		let attn = cpu.cycles;
		while (cpu.cycles < until) {
			avr.avrInstruction(cpu);
			cpu.tick();
			if (cpu.cycles >= attn) {
				attn = cpu.cycles + HZ / 10000;
				ports.d.setPin(2, notecard.fired);
				if (done && done()) return true;
			}
		}
		return false;
	}

	// cut takes the power away for so long.
	cut(ms) {
		if (this.high) this.edges.push({high: false, ms: this.ms});
		this.before = this.ms + ms;
		this.powerOn();
	}

	// starts counts the rising edges, onMs the time of the output on.
	get starts() { return this.edges.filter(edge => edge.high).length; }
	get onMs() {
		let sum = 0, from;
		for (const {high, ms} of this.edges) {
			if (high) from = ms;
			else sum += ms - from;
		}
		return this.high ? sum + this.ms - from : sum;
	}
}

module.exports = {Uno, Notecard};
