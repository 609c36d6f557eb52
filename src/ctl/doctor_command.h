/* ctl/doctor_command.h: `mtastsctl doctor`: gathers what doctor.c judges. */
#ifndef CTL_DOCTOR_COMMAND_H
#define CTL_DOCTOR_COMMAND_H

#include "ctl/command.h"

command_fn command_doctor;

#endif
